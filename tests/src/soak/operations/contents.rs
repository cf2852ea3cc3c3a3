//! What is done to the contents of files: every way to write one.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use super::{Worker, told};

/// A held file is closed once in so many appends.
const CLOSE: u64 = 30;

/// Longest single write in place, in bytes.
const PATCH: u64 = 20_000;

impl Worker {
    /// A new content: mostly small, as files are.
    pub(super) fn content(&mut self) -> Vec<u8> {
        let longest = match self.noise.below(1000) {
            0..200 => 64,
            200..850 => 8 << 10,
            850..985 => 64 << 10,
            985..999 => 512 << 10,
            _ => 3 << 20,
        };
        let len = self.noise.below(longest);
        self.bytes(len)
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        self.noise.bytes(usize::try_from(len).expect("small"))
    }

    pub(super) fn overwrite(&mut self) -> io::Result<Option<String>> {
        let Some(file) = self.plot.any_file(&mut self.noise) else { return Ok(None) };
        let path = self.at(file);
        fs::write(&path, self.content())?;
        told(&path)
    }

    /// A few places of it get other bytes; its length stays, or grows a little.
    pub(super) fn write_in_place(&mut self) -> io::Result<Option<String>> {
        let Some(file) = self.plot.any_file(&mut self.noise) else { return Ok(None) };
        let path = self.at(file);
        let file = File::options().write(true).open(&path)?;
        let len = file.metadata()?.len();
        for _ in 0..=self.noise.below(3) {
            let at = self.noise.below(len + 1);
            let patch = 1 + self.noise.below((len - at).clamp(1, PATCH));
            file.write_all_at(&self.bytes(patch), at)?;
        }
        told(&path)
    }

    pub(super) fn append(&mut self) -> io::Result<Option<String>> {
        let Some(file) = self.plot.any_file(&mut self.noise) else { return Ok(None) };
        let path = self.at(file);
        let len = 1 + self.noise.below(PATCH);
        File::options().append(true).open(&path)?.write_all(&self.bytes(len))?;
        told(&path)
    }

    /// Appends to a file that stays open over many operations, whatever becomes of its name meanwhile.
    pub(super) fn append_held(&mut self) -> io::Result<Option<String>> {
        if self.held.is_none() {
            let Some(file) = self.plot.any_file(&mut self.noise) else { return Ok(None) };
            self.held = Some((file, File::options().append(true).open(self.at(file))?));
        }
        let len = 1 + self.noise.below(2000);
        let bytes = self.bytes(len);
        let close = self.noise.below(CLOSE) == 0;
        let Some((node, file)) = &mut self.held else { return Ok(None) };
        file.write_all(&bytes)?;
        let what = format!("entry {node}{}", if close { ", closed" } else { "" });
        if close {
            self.held = None;
        }
        Ok(Some(what))
    }

    /// By path or by descriptor, to less or to more, or to nothing and written anew in the same breath.
    pub(super) fn truncate(&mut self) -> io::Result<Option<String>> {
        let Some(file) = self.plot.any_file(&mut self.noise) else { return Ok(None) };
        let path = self.at(file);
        let mut file = File::options().write(true).open(&path)?;
        let len = file.metadata()?.len();
        match self.noise.below(4) {
            0 => file.set_len(0)?,
            1 => file.set_len(len + self.noise.below(PATCH))?,
            2 => file.set_len(self.noise.below(len + 1))?,
            _ => {
                file.set_len(0)?;
                file.seek(SeekFrom::Start(0))?;
                file.write_all(&self.content())?;
            }
        }
        told(&path)
    }

    /// Stores into a mapping, in two steps, and closes the file after the last. (A store after the last close tells
    /// nobody anything; only a comparison finds it.)
    pub(super) fn mmap(&mut self) -> io::Result<Option<String>> {
        let Some(file) = self.plot.any_file(&mut self.noise) else { return Ok(None) };
        let path = self.at(file);
        let file = File::options().read(true).write(true).open(&path)?;
        let len = file.metadata()?.len();
        if len == 0 {
            return Ok(None);
        }
        {
            let mut map = vmap::MapMut::with_options().map(&file).map_err(io::Error::other)?;
            for step in 0..2 {
                let at = usize::try_from(self.noise.below(len)).expect("small");
                let many = (map.len() - at).min(100);
                map[at..at + many].copy_from_slice(&self.noise.bytes(many));
                if step == 0 && self.noise.below(4) == 0 {
                    std::thread::sleep(Duration::from_millis(self.noise.below(8)));
                }
            }
        }
        drop(file);
        told(&path)
    }

    /// As an editor does: the new content under another name, and that renamed over the old one.
    pub(super) fn save(&mut self) -> io::Result<Option<String>> {
        let Some(file) = self.plot.any_file(&mut self.noise) else { return Ok(None) };
        let path = self.at(file);
        let name = self.new_name();
        let fresh = path.with_file_name(name);
        fs::write(&fresh, self.content())?;
        fs::rename(&fresh, &path)?;
        told(&path)
    }
}
