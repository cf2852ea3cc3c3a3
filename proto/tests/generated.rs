//! The generated code in the tree is what the schema gives today. `DRIFTLESS_REGENERATE=1 cargo test -p
//! driftless-proto --test generated` writes it anew; without that a difference is a failure.
#![expect(clippy::disallowed_methods, reason = "a test reads its own source tree")]

use std::fs;
use std::path::Path;

use prost::Message;

/// Kept in boxes: a frame of empty items, which a stranger may send, must not grow in memory by the size of the
/// largest one for each.
const LARGE_ITEMS: [&str; 17] = [
    "FromSender.item.hello",
    "FromSender.item.welcome",
    "FromSender.item.refused",
    "FromSender.item.compare",
    "FromSender.item.listing",
    "FromSender.item.put",
    "FromSender.item.put_end",
    "FromSender.item.offer",
    "FromSender.item.rename",
    "FromSender.item.problem",
    "FromSender.item.done",
    "FromReceiver.item.hello",
    "FromReceiver.item.welcome",
    "FromReceiver.item.refused",
    "FromReceiver.item.failed",
    "FromReceiver.item.change",
    "FromReceiver.item.done",
];

/// Ours: see it for the reason.
const CODEC: &str = "crate::wire::codec::FrameCodec";

#[test]
fn generated_code_is_fresh() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().expect("temporary directory");
    let set = protox::compile(["driftless.proto"], [here.join("schema")]).expect("the schema compiles");
    // Reflection needs names and types; the comments are for the code.
    let mut bare = set.clone();
    bare.file.iter_mut().for_each(|file| file.source_code_info = None);
    let descriptor = bare.encode_to_vec();
    let mut generator = tonic_prost_build::configure().build_transport(false).bytes(".").codec_path(CODEC);
    for item in LARGE_ITEMS {
        generator = generator.boxed(format!(".driftless.v1.{item}"));
    }
    generator.out_dir(out.path()).compile_fds(set).expect("code is generated");
    let code = fs::read(out.path().join("driftless.v1.rs")).expect("generated code");
    for (name, fresh) in [("driftless.v1.rs", code), ("driftless.v1.bin", descriptor)] {
        let kept = here.join("src/gen").join(name);
        if std::env::var_os("DRIFTLESS_REGENERATE").is_some() {
            fs::write(&kept, &fresh).expect("written");
        }
        assert!(
            fs::read(&kept).ok().as_ref() == Some(&fresh),
            "{} is stale: run with DRIFTLESS_REGENERATE=1",
            kept.display()
        );
    }
}
