//! What a file system does that only a mapping of memory can find out.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::FileExt,
    },
    ptr,
};

use nix::{
    NixPath,
    errno::Errno,
    sys::{
        stat::{fstat, futimens},
        statvfs::fstatvfs,
        time::TimeSpec,
    },
};

const PAGE: usize = 4096;

/// Whether a store through a shared mapping moves the mtime of `file` (which is overwritten with one page).
///
/// Where pages are write-protected until they are dirty (every file system with a disk below), the first store to a
/// clean page does. tmpfs has nothing to write back, maps its pages writable at once, and a process can then change a
/// file without a trace in its times; an overlay on it too.
///
/// # Errors
/// Where the file cannot be written, set or mapped for another reason than that the file system maps nothing, and where
/// the disk is full.
pub fn mapped_store_moves_mtime(file: &File) -> io::Result<bool> {
    // A store to a page that has no block yet, on a disk that is full, is a SIGBUS: it gets its block by a write, which
    // only fails. (Where each store takes a new block, some must be free.)
    file.set_len(0)?;
    file.write_all_at(&[0; PAGE], 0)?;
    if fstatvfs(file)?.blocks_available() == 0 {
        return Err(io::Error::from(io::ErrorKind::StorageFull));
    }
    let long_ago = TimeSpec::new(1, 0);
    futimens(file, &long_ago, &long_ago)?;
    match Mapping::new(file) {
        Ok(mapping) => mapping.store(1),
        // No shared mappings here at all, so nobody can store through one.
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(true),
        Err(error) => return Err(error),
    }
    Ok(fstat(file)?.st_mtime != 1)
}

/// Renames `old` to `new`, each below its directory, unless something has the new name. nix offers this call for glibc
/// alone; the kernel has it for everyone.
///
/// # Errors
/// `EEXIST` where the name is taken, `EINVAL` or `ENOSYS` where the file system or kernel cannot promise it, and what
/// rename says.
pub fn rename_to_a_free_name<P: NixPath + ?Sized, Q: NixPath + ?Sized>(
    old_directory: impl AsFd,
    old: &P,
    new_directory: impl AsFd,
    new: &Q,
) -> nix::Result<()> {
    let (old_directory, new_directory) = (old_directory.as_fd().as_raw_fd(), new_directory.as_fd().as_raw_fd());
    let done = old.with_nix_path(|old| {
        new.with_nix_path(|new| {
            // SAFETY: two open descriptors and two strings that end in NUL and outlive the call.
            unsafe {
                libc::syscall(
                    libc::SYS_renameat2,
                    old_directory,
                    old.as_ptr(),
                    new_directory,
                    new.as_ptr(),
                    libc::RENAME_NOREPLACE,
                )
            }
        })
    })??;
    Errno::result(done).map(drop)
}

/// A shared, writable mapping of the first page of a file.
#[derive(Debug)]
pub struct Mapping(ptr::NonNull<u8>);

impl Mapping {
    /// Maps it.
    ///
    /// # Errors
    /// Where the file is empty or cannot be mapped.
    pub fn new(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() == 0 {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        // SAFETY: a new mapping of one page, at an address the kernel chooses, of a descriptor that is open; the
        // result is checked before use.
        let page = unsafe {
            libc::mmap(ptr::null_mut(), PAGE, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        ptr::NonNull::new(page.cast()).map(Self).ok_or_else(io::Error::last_os_error)
    }

    /// Reads the first byte, which maps the page, and then stores another one: only so a store can pass unseen.
    pub fn store(&self, byte: u8) {
        // SAFETY: the mapping lives as long as `self`; it is one page that is readable and writable. (If the file is
        // cut to nothing meanwhile, the process gets SIGBUS, which is no unsoundness.)
        unsafe {
            let _ = self.0.as_ptr().read_volatile();
            self.0.as_ptr().write_volatile(byte);
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `new` with this length, and unmapped nowhere else.
        unsafe { libc::munmap(self.0.as_ptr().cast(), PAGE) };
    }
}
