//! keyferry's side of the binary interface: loads a library, checks its table, calls it.

#![expect(unsafe_code, reason = "loads a library and calls its functions")]

use std::path::Path;

use keyferry_plugin::abi::{self, ABI_MAJOR, Buffer, PluginTable};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::library::{LibraryFacts, LoadError};

/// A library whose table was checked. It stays loaded until the process ends.
pub(super) struct Plugin {
    step: StepFunction,
    free: FreeFunction,
}

type StepFunction = unsafe extern "C" fn(*const u8, usize) -> Buffer;
type FreeFunction = unsafe extern "C" fn(Buffer);

impl Plugin {
    /// Asks the plugin for a step.
    pub(super) fn step(&self, request: &[u8]) -> Answer<'_> {
        // SAFETY: `request` is readable for the whole call. That the function behaves cannot be known: this process
        // exists so that it need not.
        let buffer = unsafe { (self.step)(request.as_ptr(), request.len()) };
        Answer { plugin: self, buffer }
    }
}

/// What a plugin answered: its own memory, given back on drop.
pub(super) struct Answer<'a> {
    plugin: &'a Plugin,
    buffer: Buffer,
}

impl Answer<'_> {
    /// The bytes, which nobody has looked at yet.
    pub(super) fn bytes(&self) -> &[u8] {
        // A length beyond isize::MAX is no buffer at all, and a slice must not have it.
        let length = self.buffer.length.min(isize::MAX.unsigned_abs());
        if self.buffer.data.is_null() {
            return &[];
        }
        // SAFETY: the plugin says that these bytes are there until `free`; if they are not, this process ends.
        unsafe { std::slice::from_raw_parts(self.buffer.data, length) }
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        // SAFETY: the buffer came from this plugin's `step`, is given back once, and nothing borrows it any more.
        unsafe { (self.plugin.free)(self.buffer) }
    }
}

/// Loads the library at this path, a copy that nobody can change, and checks its table against what its header said.
pub(super) fn load(path: &Path, facts: &LibraryFacts) -> Result<Plugin, LoadError> {
    let refused = |reason: String| LoadError::Table {
        path: facts.path.clone(),
        reason,
    };
    // SAFETY: this runs the library's constructors, which is what this process is for.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|error| LoadError::Dlopen {
        path: facts.path.clone(),
        reason: error.to_string(),
    })?;
    // SAFETY: for a variable, the symbol is its address, and any address may be held as a pointer.
    let symbol = unsafe { library.get::<*const RawTable>(abi::SYMBOL) };
    let table: *const RawTable = match symbol {
        Ok(symbol) => *symbol,
        Err(error) => return Err(refused(error.to_string())),
    };
    // Unloading would run destructors and leave threads without code.
    std::mem::forget(library);
    if table.is_null() || !table.is_aligned() {
        return Err(refused("its address is not that of a table".to_owned()));
    }

    // SAFETY: the symbol is defined, not null and aligned; these four fields begin every version of the table. If it
    // lies at the end of a page, this process ends.
    let (magic, major, minor, size) =
        unsafe { ((*table).magic, (*table).major, (*table).minor, (*table).size) };
    if magic != abi::TABLE_MAGIC {
        return Err(refused(
            "it does not begin with the table's magic number".to_owned(),
        ));
    }
    if major != ABI_MAJOR {
        return Err(refused(format!(
            "it has version {major} of the plugin contract, this keyferry has version {ABI_MAJOR}"
        )));
    }
    if minor != facts.minor {
        return Err(refused(format!(
            "it has minor version {minor}, the manifest's header has {}",
            facts.minor
        )));
    }
    let needed = size_of::<RawTable>();
    if usize::try_from(size).unwrap_or(0) < needed {
        return Err(refused(format!(
            "it has {size} bytes, at least {needed} are needed"
        )));
    }
    // SAFETY: the table says that it has these fields too.
    match unsafe { ((*table).step, (*table).free) } {
        (Some(step), Some(free)) => Ok(Plugin { step, free }),
        (None, _) => Err(refused("its `step` is null".to_owned())),
        (_, None) => Err(refused("its `free` is null".to_owned())),
    }
}

/// [`PluginTable`] as a library may really have it: with null for a function.
#[repr(C)]
struct RawTable {
    magic: u64,
    major: u16,
    minor: u16,
    size: u32,
    step: Option<StepFunction>,
    free: Option<FreeFunction>,
}

const _: () = assert!(size_of::<RawTable>() == size_of::<PluginTable>());

#[cfg(test)]
mod tests;
