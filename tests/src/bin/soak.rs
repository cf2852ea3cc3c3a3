//! soak: half an hour of random work and bad weather around a watch, and at the end two equal trees. See
//! `driftless_tests::soak`.

use std::process::ExitCode;

fn main() -> ExitCode {
    driftless_tests::soak::main(std::env::args().skip(1))
}
