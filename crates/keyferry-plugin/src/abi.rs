//! The binary interface: one exported symbol, and a manifest that can be read without running any code.
//!
//! `include/keyferry_plugin.h` says the same in C; a test keeps the two in step.
//!
//! | memory | allocated by | freed by |
//! |---|---|---|
//! | the request of [`PluginTable::step`] | keyferry | keyferry, after `step` returned |
//! | the [`Buffer`] that `step` returns | the plugin | the plugin, when keyferry calls [`PluginTable::free`] with it, once |
//! | the table and the manifest | the library | nobody: a library is never unloaded |

pub use crate::contract::{ABI_MAJOR, ABI_MINOR};

/// The only symbol that a plugin exports: a static [`PluginTable`].
pub const SYMBOL: &str = "keyferry_plugin";

/// First field of the table: `keyferry` in ASCII, the first letter as the most significant byte.
pub const TABLE_MAGIC: u64 = u64::from_be_bytes(*b"keyferry");

/// First bytes of the manifest's section.
pub const MANIFEST_MAGIC: [u8; 8] = *b"KEYFERRY";

/// The manifest's section in an ELF file.
pub const ELF_SECTION: &str = ".keyferry";

/// The manifest's segment in a Mach-O file.
pub const MACHO_SEGMENT: &str = "__DATA";

/// The manifest's section in [`MACHO_SEGMENT`].
pub const MACHO_SECTION: &str = "__keyferry";

/// Bytes before the manifest's JSON: magic (8), major (2), minor (2), length (4); the numbers are little-endian.
pub const MANIFEST_HEADER_LENGTH: usize = 16;

/// The longest manifest in bytes that keyferry reads.
pub const MANIFEST_MAX_LENGTH: usize = 256 * 1024;

/// Bytes that the plugin owns. `data` may be null only where `length` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    /// The first byte.
    pub data: *mut u8,
    /// How many bytes.
    pub length: usize,
}

/// What the symbol [`SYMBOL`] is. A newer minor version adds fields at the end and grows `size`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PluginTable {
    /// [`TABLE_MAGIC`].
    pub magic: u64,
    /// [`ABI_MAJOR`] of the kit that the plugin was built with.
    pub major: u16,
    /// [`ABI_MINOR`] of the kit that the plugin was built with.
    pub minor: u16,
    /// Bytes of this table in the plugin's own version of it.
    pub size: u32,
    /// Answers one [`StepRequest`](crate::StepRequest) in JSON with one [`Step`](crate::Step) in JSON.
    ///
    /// It is called from one thread at a time, never unwinds, and depends on nothing but the request.
    pub step: unsafe extern "C" fn(request: *const u8, length: usize) -> Buffer,
    /// Frees a buffer that `step` returned.
    pub free: unsafe extern "C" fn(buffer: Buffer),
}

/// Why a section holds no manifest.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SectionError {
    /// It does not begin as a manifest does.
    #[error("the section does not begin with the manifest's magic bytes")]
    Magic,
    /// It ends before the manifest does.
    #[error("the section has {found} bytes, the manifest needs {needed}")]
    Short {
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        found: usize,
    },
    /// The manifest is not UTF-8.
    #[error("the manifest is not UTF-8")]
    Text(#[source] std::str::Utf8Error),
    /// The manifest is longer than [`MANIFEST_MAX_LENGTH`].
    #[error("the manifest has {0} bytes, at most {MANIFEST_MAX_LENGTH} are read")]
    TooLong(usize),
    /// Something other than zeros follows the manifest: two plugins in one library, for example.
    #[error("the section holds more than one manifest")]
    Trailing,
}

/// Reads the manifest's section of a library file: major version, minor version, JSON.
///
/// The versions come first, so that a caller can refuse another major before it looks at the JSON. Zeros after the
/// manifest are padding.
///
/// # Errors
/// When the bytes are not exactly one manifest in the form described at [`MANIFEST_HEADER_LENGTH`].
pub fn manifest_from_section(section: &[u8]) -> Result<(u16, u16, &str), SectionError> {
    let short = |needed| SectionError::Short {
        needed,
        found: section.len(),
    };
    let (header, rest) = section
        .split_first_chunk::<MANIFEST_HEADER_LENGTH>()
        .ok_or(short(MANIFEST_HEADER_LENGTH))?;
    let [magic @ .., major0, major1, minor0, minor1, l0, l1, l2, l3] = *header;
    if magic != MANIFEST_MAGIC {
        return Err(SectionError::Magic);
    }
    let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    if length > MANIFEST_MAX_LENGTH {
        return Err(SectionError::TooLong(length));
    }
    let (json, padding) = rest
        .split_at_checked(length)
        .ok_or(short(MANIFEST_HEADER_LENGTH + length))?;
    if padding.iter().any(|&byte| byte != 0) {
        return Err(SectionError::Trailing);
    }
    let json = std::str::from_utf8(json).map_err(SectionError::Text)?;
    Ok((
        u16::from_le_bytes([major0, major1]),
        u16::from_le_bytes([minor0, minor1]),
        json,
    ))
}

/// The manifest's section, made at compile time by [`export!`](crate::export!).
///
/// `LENGTH` is [`MANIFEST_HEADER_LENGTH`] plus the bytes of `json`; anything else stops the build.
pub const fn manifest_section<const LENGTH: usize>(json: &str) -> [u8; LENGTH] {
    let json = json.as_bytes();
    assert!(
        LENGTH == MANIFEST_HEADER_LENGTH + json.len(),
        "LENGTH is header and JSON"
    );
    assert!(json.len() <= MANIFEST_MAX_LENGTH, "the manifest is too long");
    let mut section = [0; LENGTH];
    put(&mut section, 0, &MANIFEST_MAGIC);
    put(&mut section, 8, &ABI_MAJOR.to_le_bytes());
    put(&mut section, 10, &ABI_MINOR.to_le_bytes());
    put(&mut section, 12, &(json.len() as u32).to_le_bytes());
    put(&mut section, MANIFEST_HEADER_LENGTH, json);
    section
}

const fn put(section: &mut [u8], at: usize, bytes: &[u8]) {
    let mut i = 0;
    while i < bytes.len() {
        section[at + i] = bytes[i];
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"name":"pebble"}"#;
    const SECTION: [u8; MANIFEST_HEADER_LENGTH + JSON.len()] = manifest_section(JSON);

    #[test]
    fn a_section_reads_back_with_and_without_padding() {
        let mut padded = SECTION.to_vec();
        assert_eq!(manifest_from_section(&padded), Ok((ABI_MAJOR, ABI_MINOR, JSON)));
        padded.extend([0; 7]);
        assert_eq!(manifest_from_section(&padded), Ok((ABI_MAJOR, ABI_MINOR, JSON)));
    }

    #[test]
    fn every_cut_of_a_section_is_refused() {
        for length in 0..SECTION.len() {
            assert!(
                matches!(
                    manifest_from_section(&SECTION[..length]),
                    Err(SectionError::Short { .. })
                ),
                "{length}"
            );
        }
    }

    #[test]
    fn what_is_not_one_manifest_is_refused() {
        let mut magic = SECTION;
        magic[0] = b'k';
        assert_eq!(manifest_from_section(&magic), Err(SectionError::Magic));

        assert_eq!(
            manifest_from_section(&[SECTION, SECTION].concat()),
            Err(SectionError::Trailing)
        );

        let mut long = SECTION;
        long[12..16].fill(0xff);
        assert_eq!(
            manifest_from_section(&long),
            Err(SectionError::TooLong(0xffff_ffff))
        );

        let mut text = SECTION;
        text[MANIFEST_HEADER_LENGTH] = 0xff;
        assert!(matches!(manifest_from_section(&text), Err(SectionError::Text(_))));
    }
}
