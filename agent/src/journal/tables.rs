//! journal: what is done to its tables within one transaction. All of them have paths for keys.

use driftless_proto::model::path::RelPath;
use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use super::inventory::{self, INVENTORY, Item};
use super::row;
use super::{Bytes, GROUPS, Note, ROWS, Record};

pub(super) type WriteTable<'a> = Table<'a, Bytes, Bytes>;

/// The tables of paths, open for writing.
pub(super) struct Tables<'a> {
    pub(super) rows: WriteTable<'a>,
    pub(super) groups: WriteTable<'a>,
    pub(super) inventory: WriteTable<'a>,
}

impl<'a> Tables<'a> {
    pub(super) fn open(txn: &'a WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            rows: txn.open_table(ROWS)?,
            groups: txn.open_table(GROUPS)?,
            inventory: txn.open_table(INVENTORY)?,
        })
    }

    /// A journal from before there was an inventory: the rows, which are of files only, are the best there is.
    pub(super) fn fill_inventory(&mut self) -> Result<(), redb::Error> {
        if !self.inventory.is_empty()? {
            return Ok(());
        }
        for row in self.rows.iter()? {
            let (key, value) = row?;
            let Some(record) = row::decode(value.value()).filter(|_| !key.value().is_empty()) else {
                continue;
            };
            let item = Item {
                dir: record.entry.is_dir(),
                mounted: false,
                linked: false,
                kept: false,
                ino: record.stamp.ino,
                born: None,
                size: record.entry.size(),
                mtime: record.entry.mtime,
                ctime: None,
            };
            self.inventory.insert(key.value(), &*inventory::encode(&item))?;
        }
        Ok(())
    }

    pub(super) fn take(&mut self, note: &Note) -> Result<(), redb::Error> {
        match note {
            Note::Recorded(path, record) => self.record(path, record),
            Note::Seen(path, item) => {
                self.inventory.insert(path.as_bytes(), &*inventory::encode(item))?;
                Ok(())
            }
            Note::Removed(path) => self.remove_below(path),
            Note::Renamed(from, to) => self.rename(from, to),
            Note::Exchanged(one, other) => self.exchange(one, other),
        }
    }

    pub(super) fn record(&mut self, path: &RelPath, record: &Record) -> Result<(), redb::Error> {
        self.rows.insert(path.as_bytes(), &*row::encode(record))?;
        if record.groups.is_empty() {
            self.groups.remove(path.as_bytes())?;
        } else {
            self.groups.insert(path.as_bytes(), record.groups.as_flattened())?;
        }
        Ok(())
    }

    pub(super) fn remove_below(&mut self, path: &RelPath) -> Result<(), redb::Error> {
        [&mut self.rows, &mut self.groups, &mut self.inventory]
            .into_iter()
            .try_for_each(|table| remove_below(table, path))
    }

    pub(super) fn rename(&mut self, from: &RelPath, to: &RelPath) -> Result<(), redb::Error> {
        if from.is_within(to) || to.is_within(from) {
            return Ok(());
        }
        [&mut self.rows, &mut self.groups, &mut self.inventory]
            .into_iter()
            .try_for_each(|table| rename(table, from, to))
    }

    /// As [`Tables::rename`], and the other way round.
    fn exchange(&mut self, one: &RelPath, other: &RelPath) -> Result<(), redb::Error> {
        if one.is_within(other) || other.is_within(one) {
            return Ok(());
        }
        for table in [&mut self.rows, &mut self.groups, &mut self.inventory] {
            let moved = [taken(table, one, other)?, taken(table, other, one)?].concat();
            for (key, value) in moved {
                table.insert(&*key, &*value)?;
            }
        }
        Ok(())
    }
}

fn rename(table: &mut WriteTable<'_>, from: &RelPath, to: &RelPath) -> Result<(), redb::Error> {
    remove_below(table, to)?;
    for (key, value) in taken(table, from, to)? {
        table.insert(&*key, &*value)?;
    }
    Ok(())
}

/// A key and its value.
type Taken = (Vec<u8>, Vec<u8>);

/// Takes a path and everything beneath it out of a table. The keys are those beneath `to`.
fn taken(table: &mut WriteTable<'_>, from: &RelPath, to: &RelPath) -> Result<Vec<Taken>, redb::Error> {
    let mut moved = Vec::new();
    let mut take = |key: &[u8], value: &[u8]| {
        moved.push(([to.as_bytes(), &key[from.as_bytes().len()..]].concat(), value.to_vec()));
    };
    if let Some(value) = table.remove(from.as_bytes())? {
        take(from.as_bytes(), value.value());
    }
    let (first, end) = beneath(from);
    for row in table.extract_from_if(&*first..&*end, |_, _| true)? {
        let (key, value) = row?;
        take(key.value(), value.value());
    }
    Ok(moved)
}

fn remove_below(table: &mut WriteTable<'_>, path: &RelPath) -> Result<(), redb::Error> {
    if path.is_root() {
        table.retain(|_, _| false)?;
        return Ok(());
    }
    table.remove(path.as_bytes())?;
    let (first, end) = beneath(path);
    table.retain_in(&*first..&*end, |_, _| false)?;
    Ok(())
}

/// The range of keys of everything strictly beneath a directory: `0` is the byte after `/`.
pub(super) fn beneath(dir: &RelPath) -> (Vec<u8>, Vec<u8>) {
    ([dir.as_bytes(), b"/"].concat(), [dir.as_bytes(), b"0"].concat())
}
