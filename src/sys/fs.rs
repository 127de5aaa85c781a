//! What a file system does that only a mapping of memory can find out.

use std::{fs::File, io, os::fd::AsRawFd, ptr};

const PAGE: usize = 4096;

/// Whether a store through a shared mapping moves the mtime of `file` (which is overwritten with one page).
///
/// Where pages are write-protected until they are dirty (every file system with a disk below), the first store to a
/// clean page does. tmpfs has nothing to write back, maps its pages writable at once, and a process can then change a
/// file without a trace in its times; an overlay on it too.
///
/// # Errors
/// Where the file cannot be resized, set or mapped for another reason than that the file system maps nothing.
pub fn mapped_store_moves_mtime(file: &File) -> io::Result<bool> {
    use nix::sys::{
        stat::{fstat, futimens},
        time::TimeSpec,
    };

    file.set_len(PAGE as u64)?;
    let long_ago = TimeSpec::new(1, 0);
    futimens(file, &long_ago, &long_ago)?;
    // SAFETY: a new mapping of one page, at an address the kernel chooses, of a descriptor that is open; the result is
    // checked before use.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if page == libc::MAP_FAILED {
        let error = io::Error::last_os_error();
        // No shared mappings here at all, so nobody can store through one.
        return if error.raw_os_error() == Some(libc::ENODEV) { Ok(true) } else { Err(error) };
    }
    // Reading first maps the page; only then the store can pass unseen.
    // SAFETY: `page` is a mapping of PAGE bytes that nobody else knows, readable and writable, and the file is PAGE
    // bytes long; it is unmapped once, and not used after that.
    unsafe {
        let byte = page.cast::<u8>();
        let seen = byte.read_volatile();
        byte.write_volatile(seen.wrapping_add(1));
        libc::munmap(page, PAGE);
    }
    Ok(fstat(file)?.st_mtime != 1)
}

/// Stores `byte` at the start of `file` through a shared mapping, after reading there: for tests of what a scan sees.
///
/// # Errors
/// Where the file cannot be mapped.
#[doc(hidden)]
pub fn store_through_mapping(file: &File, byte: u8) -> io::Result<()> {
    Mapping::new(file)?.store(byte);
    Ok(())
}

/// A shared, writable mapping of the first page of a file.
#[doc(hidden)]
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
            libc::mmap(
                ptr::null_mut(),
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        ptr::NonNull::new(page.cast()).map(Self).ok_or_else(io::Error::last_os_error)
    }

    /// Reads the first byte and stores another one.
    pub fn store(&self, byte: u8) {
        // SAFETY: the mapping lives as long as `self`; it is one page that is readable and writable. (If the file was
        // cut to nothing meanwhile the process gets SIGBUS, which is no unsoundness.)
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
