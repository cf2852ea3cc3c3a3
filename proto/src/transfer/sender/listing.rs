//! Answers to "list this": entries, and where the receiver has nothing, their contents with them.

use super::content::{Small, read_small};
use super::{Sender, Waiting, class_of};
use crate::disk::content;
use crate::disk::walk::LeftOut;
use crate::limits;
use crate::model::digest::Digest;
use crate::model::entry::Kind;
use crate::model::path::RelPath;
use crate::model::problem::ProblemClass;
use crate::transfer::link::Ended;
use crate::transfer::observer::Sent;
use crate::transfer::view::{ViewEntry, ViewListing};
use crate::wire::message::{FromSender, Inline, Listed, Listing, RequestId};

/// A listing on its way: the entries collected so far.
struct Draft {
    open: RequestId,
    dir: RelPath,
    entries: Vec<Listed>,
    contents: Vec<Sent>,
    weight: usize,
}

impl Sender {
    /// Lists a directory, with `all` everything beneath it too, depth first so that a directory is there before
    /// what is in it.
    pub(super) fn answer_open(&mut self, id: RequestId, dir: RelPath, all: bool) -> Result<(), Ended> {
        let mut stack = vec![dir];
        while let Some(dir) = stack.pop() {
            let below = self.list(id, dir, all)?;
            if all && self.config.terms.recursive {
                stack.extend(below.into_iter().rev());
            }
        }
        self.out.push(FromSender::Opened(id))
    }

    /// Lists one directory and returns its sub-directories.
    fn list(&mut self, open: RequestId, dir: RelPath, all: bool) -> Result<Vec<RelPath>, Ended> {
        let listing = if self.config.rules.hides(&dir, true) {
            Err(std::io::ErrorKind::NotFound.into())
        } else {
            // Of what was kept nothing can be read.
            let kept = if all || self.config.terms.checksum { None } else { self.kept(&dir) };
            kept.map_or_else(|| self.config.view.list(&dir), Ok)
        };
        let listing = match listing {
            Ok(listing) => listing,
            Err(error) => {
                if !self.unreadable.contains(&dir) {
                    self.problem(dir.clone(), &error.to_string(), class_of(&error))?;
                }
                let nothing = Draft { open, dir, entries: Vec::new(), contents: Vec::new(), weight: 0 };
                self.send_listing(nothing, true, false)?;
                return Ok(Vec::new());
            }
        };
        let sound = self.report_failed(&dir, &listing)?;
        let with_content = all && !self.config.options.dry_run;
        // What was digested has been counted.
        let counted = self.summary.is_none();
        let mut draft =
            Draft { open, dir: dir.clone(), entries: Vec::new(), contents: Vec::new(), weight: 0 };
        let (mut below, mut large, mut left_out) = (Vec::new(), Vec::new(), LeftOut::default());
        for (name, entry) in &listing.entries {
            let is_dir = entry.entry.is_dir();
            let Ok(path) = dir.child(name) else {
                self.problem(dir.clone(), "a path in it is too long", ProblemClass::Path)?;
                continue;
            };
            if self.config.rules.excludes(&path, is_dir) {
                continue;
            }
            if is_dir {
                below.push(path.clone());
            }
            let takes_part = self.config.terms.takes(&entry.entry.kind);
            if counted && (takes_part || !is_dir) {
                self.count(&entry.entry);
            }
            if counted && !takes_part && !is_dir {
                left_out.add(path.clone());
            }
            self.name_ids(&entry.entry)?;
            let (listed, sent) = self.listed(&path, name, entry, &listing, with_content, all)?;
            if with_content && listed.content.is_none() && entry.entry.size() > 0 && !is_dir {
                large.push(path.clone());
            }
            draft.add(listed, sent);
            if draft.is_full() {
                let fresh =
                    Draft { open, dir: dir.clone(), entries: Vec::new(), contents: Vec::new(), weight: 0 };
                self.send_listing(std::mem::replace(&mut draft, fresh), false, true)?;
            }
        }
        self.send_listing(draft, true, sound)?;
        self.tell_left_out(&left_out);
        for path in large {
            self.send_unasked(&path)?;
        }
        Ok(below)
    }

    /// One entry as it is listed: with its digest when it is a directory that was compared, with its content when
    /// that is wanted and small.
    fn listed(
        &mut self,
        path: &RelPath,
        name: &[u8],
        entry: &ViewEntry,
        listing: &ViewListing,
        with_content: bool,
        all: bool,
    ) -> Result<(Listed, Option<Sent>), Ended> {
        let mut listed =
            Listed { path: path.clone(), entry: entry.entry.clone(), digest: None, content: None };
        match entry.entry.kind {
            Kind::Dir => listed.digest = self.known_digest(path),
            Kind::File { size } if with_content && size <= limits::INLINE_MAX => {
                let disk_name = entry.disk_name.as_deref().unwrap_or(name);
                self.observer.file_started(path, size);
                match read_small(&listing.dirs[entry.dir], disk_name) {
                    Ok(Small::Whole { bytes, found, stamp }) => {
                        let digest = Digest::of(&bytes);
                        self.totals.literal_bytes += bytes.len() as u64;
                        self.observer.file_advanced(bytes.len() as u64);
                        self.observer.file_done();
                        if stamp.is_none() {
                            self.observer.unstable(path);
                        }
                        let sent = stamp.filter(|_| self.config.record).map(|stamp| Sent {
                            path: path.clone(),
                            entry: found.entry.clone(),
                            stamp,
                            digest,
                            groups: Vec::new(),
                        });
                        listed.entry = found.entry;
                        listed.content = Some(Inline { bytes, digest });
                        return Ok((listed, sent));
                    }
                    Ok(Small::Grown) => {}
                    Err(error) => self.problem(path.clone(), &error.to_string(), class_of(&error))?,
                }
            }
            // Only of a directory whose other half is unlike it: the summary, which has read them all, keeps no digests of files.
            Kind::File { .. } if self.config.terms.checksum && !all => {
                let disk_name = entry.disk_name.as_deref().unwrap_or(name);
                // What cannot be read was told when the directory was summarised.
                listed.digest =
                    content::digest(&listing.dirs[entry.dir], disk_name).ok().map(|(digest, _)| digest);
            }
            _ => {}
        }
        Ok((listed, None))
    }

    /// The digest of a directory, if the last comparison computed it.
    fn known_digest(&self, path: &RelPath) -> Option<Digest> {
        let (_, place) = self.config.view.only(path)?;
        self.summary.as_ref()?.dirs.get(&place).copied()
    }

    /// What the last comparison listed of a directory, once.
    fn kept(&mut self, dir: &RelPath) -> Option<ViewListing> {
        let (_, place) = self.config.view.only(dir)?;
        Some(ViewListing::kept(self.summary.as_mut()?.kept.take(&place)?))
    }

    fn report_failed(&mut self, dir: &RelPath, listing: &ViewListing) -> Result<bool, Ended> {
        for (name, error) in &listing.failed {
            let path = dir.child(name).unwrap_or_else(|_| dir.clone());
            if !self.unreadable.contains(&path) {
                self.problem(path, &error.to_string(), class_of(error))?;
            }
        }
        Ok(listing.failed.is_empty())
    }

    fn send_listing(&mut self, draft: Draft, last: bool, sound: bool) -> Result<(), Ended> {
        // Only contents need an ack: entries are settled by the comparison they belong to.
        let carries = draft.entries.iter().any(|l| l.content.is_some());
        let seq = if carries { self.begin(Waiting::content(draft.contents)) } else { 0 };
        let Draft { open, dir, entries, .. } = draft;
        self.out.push(FromSender::Listing(Listing { seq, open, dir, entries, last, sound }))
    }
}

impl Draft {
    fn add(&mut self, listed: Listed, sent: Option<Sent>) {
        let target = match &listed.entry.kind {
            Kind::Symlink { target } => target.len(),
            _ => 0,
        };
        let content = listed.content.as_ref().map_or(0, |c| c.bytes.len());
        self.weight += 64 + listed.path.name().len() + target + content;
        self.entries.push(listed);
        self.contents.extend(sent);
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= limits::LISTING_LEN || self.weight >= limits::FRAME_SOFT
    }
}
