//! stats: the table.

use serde_json::{Map, Value};

use crate::events::format::text_and_bytes;
use crate::events::mask::Mask;

/// The columns between `total` and `filename`.
const COLUMNS: [(Mask, &str); 13] = [
    (Mask::ACCESS, "access"),
    (Mask::MODIFY, "modify"),
    (Mask::ATTRIB, "attrib"),
    (Mask::CLOSE_WRITE, "close_write"),
    (Mask::CLOSE_NOWRITE, "close_nowrite"),
    (Mask::OPEN, "open"),
    (Mask::MOVED_FROM, "moved_from"),
    (Mask::MOVED_TO, "moved_to"),
    (Mask::MOVE_SELF, "move_self"),
    (Mask::CREATE, "create"),
    (Mask::DELETE, "delete"),
    (Mask::DELETE_SELF, "delete_self"),
    (Mask::UNMOUNT, "unmount"),
];

/// What was counted at one watched path.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) path: Vec<u8>,
    /// Where it stands among rows that are equal.
    order: u64,
    /// Every event, also those without a column: it can be more than the sum of the columns.
    total: u64,
    counts: [u64; COLUMNS.len()],
}

impl Row {
    pub(super) fn new(order: u64) -> Self {
        Self { path: Vec::new(), order, total: 0, counts: [0; COLUMNS.len()] }
    }

    pub(super) fn count(&mut self, mask: Mask) {
        self.total += 1;
        for (count, (event, _)) in self.counts.iter_mut().zip(COLUMNS) {
            *count += u64::from(mask.intersects(event));
        }
    }

    fn by(&self, key: Option<Mask>) -> u64 {
        let column = key.and_then(|key| COLUMNS.iter().position(|&(event, _)| event == key));
        column.map_or(self.total, |column| self.counts[column])
    }
}

/// How rows become a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    /// Only these have a column.
    pub(super) events: Mask,
    /// Zeros are shown too.
    pub(super) zero: bool,
    /// What to sort by; `None` is the total.
    pub(super) key: Option<Mask>,
    pub(super) ascending: bool,
}

impl Table {
    /// The rows to show, in their order; none when nothing was counted at all.
    fn sorted<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> Vec<&'a Row> {
        let mut rows: Vec<&Row> = rows.collect();
        if rows.iter().all(|row| row.total == 0) {
            return Vec::new();
        }
        rows.retain(|row| self.zero || row.total > 0);
        rows.sort_by_key(|row| {
            let by = row.by(self.key);
            (if self.ascending { by } else { u64::MAX - by }, row.order)
        });
        rows
    }

    /// The rows as JSON, an object a line, with every column that was asked for; empty when nothing was counted at all.
    pub(super) fn json<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> Vec<u8> {
        let mut out = Vec::new();
        for row in self.sorted(rows) {
            let mut object = Map::new();
            text_and_bytes(&mut object, "filename", &row.path);
            object.insert("total".into(), row.total.into());
            for (count, (event, name)) in row.counts.iter().zip(COLUMNS) {
                if event.intersects(self.events) {
                    object.insert(name.into(), (*count).into());
                }
            }
            out.extend(Value::Object(object).to_string().as_bytes());
            out.push(b'\n');
        }
        out
    }

    /// The table; empty when nothing was counted at all.
    pub(super) fn render<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> Vec<u8> {
        let rows = self.sorted(rows);
        if rows.is_empty() {
            return Vec::new();
        }
        let shown: Vec<usize> = (0..COLUMNS.len())
            .filter(|&at| COLUMNS[at].0.intersects(self.events))
            .filter(|&at| self.zero || rows.iter().any(|row| row.counts[at] > 0))
            .collect();
        let mut text = String::from("total  ");
        shown.iter().for_each(|&at| text += &format!("{}  ", COLUMNS[at].1));
        text += "filename\n";
        let mut out = text.into_bytes();
        for row in rows {
            let mut text = format!("{:<5}  ", row.total);
            for &at in &shown {
                text += &format!("{:<width$}  ", row.counts[at], width = COLUMNS[at].1.len());
            }
            out.extend([text.as_bytes(), &row.path, b"\n"].concat());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row = |path: &str, order, events: &[Mask]| {
            let mut row = Row { path: path.into(), ..Row::new(order) };
            events.iter().for_each(|&event| row.count(event));
            row
        };
        vec![
            row("s/", 3, &[Mask::CREATE, Mask::CREATE, Mask::DELETE, Mask::DELETE]),
            row("s/b/", 1, &[Mask::CREATE, Mask::DELETE, Mask::DELETE_SELF, Mask::IGNORED]),
            row("s/c/", 2, &[Mask::CREATE]),
            row("s/d/", 0, &[]),
        ]
    }

    fn table(zero: bool, key: Option<Mask>, ascending: bool, events: Mask) -> String {
        let table = Table { events, zero, key, ascending };
        String::from_utf8(table.render(rows().iter())).expect("text")
    }

    #[test]
    fn only_what_was_counted_is_shown_the_largest_total_first() {
        let want = "total  create  delete  delete_self  filename\n\
                    4      1       1       1            s/b/\n\
                    4      2       2       0            s/\n\
                    1      1       0       0            s/c/\n";
        assert_eq!(table(false, None, false, Mask::ALL), want);
    }

    #[test]
    fn zeros_are_shown_when_asked_for_and_equals_keep_the_order_of_their_watches() {
        let events = Mask::CREATE | Mask::OPEN;
        let want = "total  open  create  filename\n\
                    0      0     0       s/d/\n\
                    4      0     1       s/b/\n\
                    1      0     1       s/c/\n\
                    4      0     2       s/\n";
        assert_eq!(table(true, Some(Mask::CREATE), true, events), want);
        let largest_first = table(true, Some(Mask::CREATE), false, events);
        let paths: Vec<_> =
            largest_first.lines().skip(1).filter_map(|line| line.split_whitespace().last()).collect();
        assert_eq!(paths, ["s/", "s/b/", "s/c/", "s/d/"]);
    }

    #[test]
    fn as_json_a_row_has_every_column_that_was_asked_for() {
        let table = Table {
            events: Mask::CREATE | Mask::OPEN,
            zero: false,
            key: Some(Mask::CREATE),
            ascending: false,
        };
        let mut all = rows();
        all[2].path = b"\xff/".to_vec();
        let text = String::from_utf8(table.json(all.iter())).expect("text");
        let objects: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(objects[0], serde_json::json!({"filename": "s/", "total": 4, "open": 0, "create": 2}));
        assert_eq!(objects.len(), 3);
        assert_eq!(objects[2]["filename_base64"], "/y8=");
        assert_eq!(table.json([Row::new(0)].iter()), b"");
    }

    #[test]
    fn nothing_counted_is_no_table_even_with_zeros() {
        let none = [Row::new(0)];
        let table = Table { events: Mask::ALL, zero: true, key: None, ascending: false };
        assert_eq!(table.render(none.iter()), b"");
    }
}
