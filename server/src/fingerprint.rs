//! `driftlessd fingerprint`: one line, which agents take with `--fingerprint`.

use std::path::Path;
use std::process::ExitCode;

use crate::config::Config;
use crate::tls::Identity;

/// Prints the fingerprint of the certificate that the server shows; makes a self-signed one if it has none yet.
pub(crate) fn run(path: &Path) -> ExitCode {
    let loaded = Config::load(path).map_err(|error| error.to_string());
    let identity = loaded.and_then(|config| Identity::load(&config).map_err(|error| error.to_string()));
    match identity {
        Ok(identity) => {
            println!("{}", identity.fingerprint());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("driftlessd: {error}");
            ExitCode::from(1)
        }
    }
}
