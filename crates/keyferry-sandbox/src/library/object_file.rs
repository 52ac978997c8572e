//! The part of ELF and Mach-O that we need: is it a library for this machine, and where is its manifest.

use keyferry_plugin::abi;
use object::read::{NameOrOrdinal, Object, ObjectKind, ObjectSection, ReadRef};
use object::{Architecture, BinaryFormat};

/// The content of the manifest's section, once the file is known to be a plugin library for this machine.
pub(super) fn section<'data>(content: impl ReadRef<'data>) -> Result<&'data [u8], NotOurs> {
    let file = object::File::parse(content).map_err(|error| NotOurs::Unreadable(error.to_string()))?;
    if file.format() != FORMAT || file.kind() != ObjectKind::Dynamic {
        return Err(NotOurs::NotALibrary);
    }
    let found = file.architecture();
    if architecture_name(found) != Some(std::env::consts::ARCH)
        || file.is_64() != cfg!(target_pointer_width = "64")
        || file.is_little_endian() != cfg!(target_endian = "little")
    {
        return Err(NotOurs::Machine(format!("{found:?}")));
    }
    let section = file
        .section_by_name(abi::ELF_SECTION)
        .ok_or(NotOurs::NoManifest)?
        .data()
        .map_err(|error| NotOurs::Unreadable(error.to_string()))?;
    let exports = file
        .exports()
        .map_err(|error| NotOurs::Unreadable(error.to_string()))?;
    for export in exports {
        let export = export.map_err(|error| NotOurs::Unreadable(error.to_string()))?;
        if let NameOrOrdinal::Name(name) = export.name()
            && is_our_symbol(name)
        {
            return Ok(section);
        }
    }
    Err(NotOurs::NoSymbol)
}

/// Why a file is no plugin library for this machine.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotOurs {
    /// It is for another processor.
    #[error("is built for another machine ({0}), this one is {arch}: install the plugin for {arch}", arch = std::env::consts::ARCH)]
    Machine(String),
    /// It has no manifest.
    #[error("is not a keyferry plugin: it has no manifest section; remove it from the plugin directory")]
    NoManifest,
    /// It does not export the table.
    #[error(
        "is not a keyferry plugin: it does not export the symbol {}; build it as a cdylib with `export!`",
        abi::SYMBOL
    )]
    NoSymbol,
    /// It is a program, an object file, a core dump.
    #[error("is not a shared library of this system; build the plugin as a cdylib")]
    NotALibrary,
    /// It is no object file, or a damaged one.
    #[error("is not a shared library, or is damaged ({0}): install it again")]
    Unreadable(String),
}

fn is_our_symbol(name: &[u8]) -> bool {
    // Mach-O puts an underscore before the names of C.
    let name = match FORMAT {
        BinaryFormat::MachO => name.strip_prefix(b"_").unwrap_or(name),
        _ => name,
    };
    name == abi::SYMBOL.as_bytes()
}

/// Rust's name of an architecture (`std::env::consts::ARCH`).
fn architecture_name(architecture: Architecture) -> Option<&'static str> {
    Some(match architecture {
        Architecture::Aarch64 => "aarch64",
        Architecture::Arm => "arm",
        Architecture::I386 => "x86",
        Architecture::LoongArch64 => "loongarch64",
        Architecture::PowerPc64 => "powerpc64",
        Architecture::Riscv64 => "riscv64",
        Architecture::S390x => "s390x",
        Architecture::X86_64 => "x86_64",
        _ => return None,
    })
}

const FORMAT: BinaryFormat = if cfg!(target_vendor = "apple") {
    BinaryFormat::MachO
} else {
    BinaryFormat::Elf
};
