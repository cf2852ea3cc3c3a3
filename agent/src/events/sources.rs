//! events: what is to be watched: operands, `@PATH`, `--fromfile`.

use std::fs::File;
use std::io::{self, Read as _};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::kernel::reason;
use super::say::Say;

/// What was named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    pub(crate) watched: Vec<Vec<u8>>,
    /// Without their `@`.
    pub(crate) excluded: Vec<Vec<u8>>,
    /// What standard input held, when it was read.
    pub(crate) stdin: Option<Vec<u8>>,
}

impl Sources {
    /// Reads `--fromfile` (`-` is standard input) and then the operands. A file that cannot be read is said and left.
    pub(crate) fn gather(fromfile: Option<&[u8]>, operands: Vec<Vec<u8>>, say: &Say) -> Self {
        let mut sources = Self::default();
        if let Some(file) = fromfile {
            match read(file) {
                Ok(text) => {
                    text.split(|&byte| byte == b'\n').for_each(|line| sources.name(line));
                    sources.stdin = (file == b"-").then_some(text);
                }
                Err(why) => say.about("Couldn't open ", file, &format!(": {why}")),
            }
        }
        operands.iter().for_each(|operand| sources.name(operand));
        sources
    }

    fn name(&mut self, name: &[u8]) {
        match name.strip_prefix(b"@") {
            Some(b"") => {}
            Some(excluded) => self.excluded.push(excluded.to_vec()),
            None if name.is_empty() => {}
            None => self.watched.push(name.to_vec()),
        }
    }
}

fn read(file: &[u8]) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let read = if file == b"-" {
        io::stdin().read_to_end(&mut text)
    } else {
        let held = rustix::fs::open(file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(reason)?;
        File::from(held).read_to_end(&mut text)
    };
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(Errno::from_io_error(&error).map_or_else(|| error.to_string(), reason)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_list_goes_before_the_operands_and_blanks_are_nothing() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"one\n\n@\n@out/\ntwo words\r").expect("write");
        let operands = ["three", "", "@", "@x"].map(|operand| operand.as_bytes().to_vec()).to_vec();
        let list = file.path().to_str().expect("text").as_bytes();
        let sources = Sources::gather(Some(list), operands, &Say::Stderr);
        let text = |paths: &[Vec<u8>]| {
            paths.iter().map(|p| String::from_utf8_lossy(p).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(text(&sources.watched), ["one", "two words\r", "three"]);
        assert_eq!(text(&sources.excluded), ["out/", "x"]);
    }
}
