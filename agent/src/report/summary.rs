//! The totals at the end of a run: rsync's two closing lines, and its `--stats`.

use std::time::Duration;

use driftless_proto::model::counter::{KindCounts, ReceiverTotals, SenderTotals};

/// Bytes that crossed the socket, TLS and all, seen from this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    /// Out.
    pub sent_bytes: u64,
    /// In.
    pub received_bytes: u64,
}

/// The two closing lines, without a line end. `size_bytes` is that of all files in the transfer.
#[must_use]
pub fn ending(size_bytes: u64, wire: Wire, took: Duration, dry_run: bool) -> String {
    let crossed = wire.sent_bytes as f64 + wire.received_bytes as f64;
    // rsync counts whole seconds and a half, so a run of no time has a rate.
    let rate = crossed / (took.as_secs() as f64 + 0.5);
    let speedup = if crossed > 0.0 { size_bytes as f64 / crossed } else { 0.0 };
    format!(
        "sent {} bytes  received {} bytes  {} bytes/sec\ntotal size is {}  speedup is {}{}",
        grouped(wire.sent_bytes),
        grouped(wire.received_bytes),
        hundredths(rate),
        grouped(size_bytes),
        hundredths(speedup),
        if dry_run { " (DRY RUN)" } else { "" },
    )
}

/// The block of `--stats`, without a line end. The file list has no size of its own here: entries travel between
/// other things, and only those of directories that differ.
#[must_use]
pub fn stats(sender: &SenderTotals, receiver: &ReceiverTotals, wire: Wire) -> String {
    [
        format!("Number of files: {}", counts(&sender.entries)),
        format!("Number of created files: {}", counts(&receiver.created)),
        format!("Number of deleted files: {}", counts(&receiver.deleted)),
        format!("Number of regular files transferred: {}", grouped(receiver.transferred_files)),
        format!("Total file size: {} bytes", grouped(sender.size_bytes)),
        format!("Total transferred file size: {} bytes", grouped(receiver.transferred_bytes)),
        format!("Literal data: {} bytes", grouped(sender.literal_bytes)),
        format!("Matched data: {} bytes", grouped(sender.matched_bytes)),
        "File list size: 0".to_owned(),
        format!("Total bytes sent: {}", grouped(wire.sent_bytes)),
        format!("Total bytes received: {}", grouped(wire.received_bytes)),
    ]
    .join("\n")
}

/// The total, and its kinds where there are any: `8 (reg: 4, dir: 3, link: 1)`.
fn counts(counts: &KindCounts) -> String {
    let kinds = [
        ("reg", counts.files),
        ("dir", counts.dirs),
        ("link", counts.links),
        ("dev", counts.devices),
        ("special", counts.specials),
    ];
    let kinds: Vec<String> =
        kinds.iter().filter(|(_, n)| *n > 0).map(|(kind, n)| format!("{kind}: {}", grouped(*n))).collect();
    let total = grouped(counts.total());
    if kinds.is_empty() { total } else { format!("{total} ({})", kinds.join(", ")) }
}

/// With commas between thousands.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// With commas between thousands and two decimals. Not negative.
fn hundredths(number: f64) -> String {
    let text = format!("{number:.2}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, "00"));
    format!("{}.{fraction}", grouped(whole.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let table = [(0, "0"), (999, "999"), (1000, "1,000"), (123_456, "123,456"), (3_000_019, "3,000,019")];
        for (number, want) in table {
            assert_eq!(grouped(number), want);
        }
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!(hundredths(1_434_567.886), "1,434,567.89");
        assert_eq!(hundredths(0.0), "0.00");
    }

    #[test]
    fn the_closing_lines() {
        let wire = Wire { sent_bytes: 1234, received_bytes: 56 };
        assert_eq!(
            ending(11_656_708, wire, Duration::from_millis(1900), false),
            "sent 1,234 bytes  received 56 bytes  860.00 bytes/sec\n\
             total size is 11,656,708  speedup is 9,036.21"
        );
        assert_eq!(
            ending(5, Wire { sent_bytes: 199, received_bytes: 66 }, Duration::ZERO, true),
            "sent 199 bytes  received 66 bytes  530.00 bytes/sec\ntotal size is 5  speedup is 0.02 (DRY RUN)"
        );
        assert_eq!(
            ending(0, Wire::default(), Duration::ZERO, false),
            "sent 0 bytes  received 0 bytes  0.00 bytes/sec\ntotal size is 0  speedup is 0.00"
        );
    }

    #[test]
    fn the_stats_block() {
        let all = KindCounts { files: 4, dirs: 3, links: 1, ..KindCounts::default() };
        let sender = SenderTotals {
            entries: all,
            size_bytes: 3_000_129,
            literal_bytes: 3_000_122,
            ..SenderTotals::default()
        };
        let receiver = ReceiverTotals {
            created: all,
            transferred_files: 4,
            transferred_bytes: 3_000_122,
            ..ReceiverTotals::default()
        };
        let wire = Wire { sent_bytes: 3_001_268, received_bytes: 110 };
        assert_eq!(
            stats(&sender, &receiver, wire),
            "Number of files: 8 (reg: 4, dir: 3, link: 1)\n\
             Number of created files: 8 (reg: 4, dir: 3, link: 1)\n\
             Number of deleted files: 0\n\
             Number of regular files transferred: 4\n\
             Total file size: 3,000,129 bytes\n\
             Total transferred file size: 3,000,122 bytes\n\
             Literal data: 3,000,122 bytes\n\
             Matched data: 0 bytes\n\
             File list size: 0\n\
             Total bytes sent: 3,001,268\n\
             Total bytes received: 110"
        );
        let odd = KindCounts { files: 1200, devices: 1, specials: 2, ..KindCounts::default() };
        assert_eq!(counts(&odd), "1,203 (reg: 1,200, dev: 1, special: 2)");
    }
}
