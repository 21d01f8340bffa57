//! The image that an export writes: a sparse file that gets its name when it is whole.

use anyhow::{Context, Result, bail, ensure};
use moraine_model::BLOCK_BYTES;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Bytes that are gathered before they are written.
const GATHERED_BYTES: usize = 1 << 20;

/// An image that is being written, under a name of its own. Dropped before it is whole, it goes.
pub(super) struct Image {
    file: NamedTempFile,
    path: PathBuf,
    force: bool,
    /// What lies together and is not written yet, and where it begins.
    gathered: (u64, Vec<u8>),
    /// Where the last byte written ends.
    end: u64,
}

impl Image {
    /// Begins an image that will be `path`. What is there is replaced only if `force`, and never if
    /// it is the disk itself.
    pub(super) fn create(path: &Path, force: bool, device: &Path) -> Result<Self> {
        let shown = path.display();
        let there = match fs::metadata(path) {
            Ok(there) => Some(there),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("looking at {shown}")),
        };
        if let Some(there) = there {
            ensure!(
                there.is_file(),
                "{shown} is no regular file: name a file that does not exist yet"
            );
            let device =
                fs::metadata(device).with_context(|| format!("looking at {}", device.display()))?;
            ensure!(
                (there.dev(), there.ino()) != (device.dev(), device.ino()),
                "{shown} is the disk itself: choose another name for the image"
            );
            if !force {
                bail!("{shown} exists already: choose another name, or say --force to replace it");
            }
        }
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .prefix("moraine-export-")
            .suffix(".partial")
            .tempfile_in(folder)
            .with_context(|| format!("making a file in {}", folder.display()))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            force,
            gathered: (0, Vec::new()),
            end: 0,
        })
    }

    /// Puts a block at its place.
    pub(super) fn put(&mut self, offset: u64, block: &[u8]) -> Result<()> {
        let (start, bytes) = &self.gathered;
        let follows = start + bytes.len() as u64 == offset && bytes.len() < GATHERED_BYTES;
        if !follows {
            self.flush()?;
            self.gathered.0 = offset;
        }
        self.gathered.1.extend_from_slice(block);
        self.end = self.end.max(offset + BLOCK_BYTES as u64);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let (start, bytes) = &mut self.gathered;
        let file = self.file.as_file();
        file.write_all_at(bytes, *start)
            .with_context(|| format!("writing {}", self.file.path().display()))?;
        bytes.clear();
        Ok(())
    }

    /// Where the last block that was put ends.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Gives the image its size and its name.
    pub(super) fn finish(mut self, size_bytes: u64) -> Result<()> {
        self.flush()?;
        let file = self.file.as_file();
        file.set_len(size_bytes)
            .and_then(|()| file.sync_all())
            .with_context(|| format!("writing {}", self.file.path().display()))?;
        let named = if self.force {
            self.file.persist(&self.path)
        } else {
            self.file.persist_noclobber(&self.path)
        };
        named
            .map(drop)
            .map_err(|error| error.error)
            .with_context(|| format!("giving the image the name {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(byte: u8) -> Vec<u8> {
        vec![byte; BLOCK_BYTES]
    }

    #[test]
    fn blocks_lie_where_they_were_put_and_the_rest_is_holes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let mut image = Image::create(&path, false, folder.path()).unwrap();
        let places = [(5, 1), (6, 2), (2, 3), (4096, 4)];
        for (nth, byte) in places {
            image.put(nth * BLOCK_BYTES as u64, &block(byte)).unwrap();
        }
        assert_eq!(image.end(), 4097 * BLOCK_BYTES as u64);
        image.finish(32 << 20).unwrap();
        let bytes = fs::read(&path).unwrap();
        let mut expected = vec![0; 32 << 20];
        for (nth, byte) in places {
            let at = usize::try_from(nth).unwrap() * BLOCK_BYTES;
            expected[at..at + BLOCK_BYTES].copy_from_slice(&block(byte));
        }
        assert!(bytes == expected);
        let taken = fs::metadata(&path).unwrap().blocks() * 512;
        assert!(taken < 1 << 20, "{taken} bytes are not sparse");
    }

    #[test]
    fn nothing_is_replaced_unless_asked_and_the_disk_never() {
        let folder = tempfile::tempdir().unwrap();
        let (path, disk) = (folder.path().join("image"), folder.path().join("disk"));
        fs::write(&path, "precious").unwrap();
        fs::write(&disk, "store").unwrap();
        assert!(Image::create(&path, false, &disk).is_err());
        assert!(Image::create(&disk, true, &disk).is_err());
        assert!(Image::create(folder.path(), true, &disk).is_err());
        // One that is given up leaves what was there.
        drop(Image::create(&path, true, &disk).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        Image::create(&path, true, &disk)
            .unwrap()
            .finish(4096)
            .unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 4096);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_name_that_was_taken_meanwhile_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let image = Image::create(&path, false, folder.path()).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(image.finish(4096).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
