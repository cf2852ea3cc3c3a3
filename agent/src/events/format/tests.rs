//! What one event looks like, case by case.

use super::*;

fn record(watched: &'static str, name: &'static str, mask: u32) -> Record<'static> {
    Record {
        watched: watched.as_bytes(),
        name: name.as_bytes(),
        mask: Mask(mask),
        cookie: 0x3e82,
        time: Timestamp::UNIX_EPOCH,
        from: None,
        synthetic: false,
    }
}

fn written(form: &Form, record: &Record<'_>, print0: bool) -> String {
    let mut out = Vec::new();
    form.write(record, print0, &mut out);
    String::from_utf8(out).expect("text")
}

fn format(text: &str) -> Form {
    Form::Format { pieces: parse(text.as_bytes()), timefmt: Some(b"T".to_vec()), newline: true }
}

#[test]
fn a_format_is_read_letter_by_letter() {
    let cases = [
        ("%w|%f|%e|%:e|%;e", "t/|f|CLOSE_WRITE,CLOSE|CLOSE_WRITE:CLOSE|CLOSE_WRITE;CLOSE\n"),
        ("%we%ce%Te%fe", "t/e3e82eTefe\n"),
        ("%x|%|%%|%|e|%%e", "%x|%|%|CLOSE_WRITE|CLOSE|%e\n"),
        ("%", "%\n"),
        ("a%", "a%\n"),
        ("%0%n%%n%%%w", "\0\n%n%t/\n"),
        ("%ee", "CLOSE_WRITE,CLOSEe\n"),
        ("", "\n"),
    ];
    for (text, want) in cases {
        assert_eq!(written(&format(text), &record("t/", "f", 0x8), false), want, "{text:?}");
    }
}

#[test]
fn the_end_of_a_record_is_a_newline_or_nul_or_nothing() {
    let create = record("t/", "f", 0x100);
    assert_eq!(written(&Form::Default, &create, false), "t/ CREATE f\n");
    assert_eq!(written(&Form::Default, &create, true), "t/ CREATE f\0");
    let bare = Form::Format { pieces: parse(b"%f"), timefmt: None, newline: false };
    assert_eq!(written(&bare, &create, false), "f");
    assert_eq!(written(&bare, &create, true), "f\0");
}

#[test]
fn csv_quotes_what_would_not_be_read_as_itself() {
    let cases = [
        ("a b", "t/,CREATE,a b\n"),
        (" a", "t/,CREATE,\" a\"\n"),
        ("a ", "t/,CREATE,\"a \"\n"),
        ("q\"x", "t/,CREATE,\"q\"\"x\"\n"),
        ("c,d", "t/,CREATE,\"c,d\"\n"),
        ("c\nd", "t/,CREATE,\"c\nd\"\n"),
        ("", "t/,CREATE,\n"),
    ];
    for (name, want) in cases {
        assert_eq!(written(&Form::Csv, &record("t/", name, 0x100), false), want);
    }
    assert_eq!(written(&Form::Csv, &record("t/", "f", 0x8), false), "t/,\"CLOSE_WRITE,CLOSE\",f\n");
    assert_eq!(written(&Form::Csv, &record("", "", 0x4000), false), "Q_OVERFLOW,\n");
}

#[test]
fn json_loses_no_byte_of_a_name() {
    let odd = Record { name: b"\xff\n\"", ..record("t/", "", 0x4000_0100) };
    let line = written(&Form::Json, &odd, false);
    let value: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line.matches('\n').count(), 1);
    assert_eq!(value["watched"], "t/");
    assert_eq!(value["name"], "\u{fffd}\n\"");
    assert_eq!(value["name_base64"], "/woi");
    assert_eq!(value.get("watched_base64"), None);
    assert_eq!(value["events"], serde_json::json!(["CREATE", "ISDIR"]));
    assert_eq!(value["cookie"], 0x3e82);
}

#[test]
fn the_second_half_of_a_rename_says_the_whole_of_it_in_json_only() {
    let moved = Record { from: Some(b"t/\xffold"), ..record("t/d/", "new", 0x80) };
    let value: Value = serde_json::from_str(&written(&Form::Json, &moved, false)).expect("JSON");
    assert_eq!((&value["from"], &value["to"]), (&"t/\u{fffd}old".into(), &"t/d/new".into()));
    assert_eq!((&value["from_base64"], value.get("to_base64")), (&"dC//b2xk".into(), None));
    assert_eq!(written(&Form::Default, &moved, false), "t/d/ MOVED_TO new\n");
    let bare: Value =
        serde_json::from_str(&written(&Form::Json, &record("t/", "f", 0x80), false)).expect("JSON");
    assert_eq!((bare.get("from"), bare.get("to")), (None, None));
}

#[test]
fn the_time_is_that_of_the_event() {
    let json = written(&Form::Json, &record("t/", "f", 0x100), false);
    assert!(json.contains("\"time\":\"1970-01-01T00:00:00Z\""), "{json}");
    let format = Form::Format { pieces: parse(b"%T"), timefmt: Some(b"%s".to_vec()), newline: false };
    assert_eq!(written(&format, &record("t/", "f", 0x100), false), "0");
}
