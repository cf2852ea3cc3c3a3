//! What the server keeps about itself: who it is, and which start this is.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use driftless_proto::model::digest::Digest;
use driftless_proto::model::entry::Time;

use crate::module::Module;
use crate::named;

/// Tells an agent whether it talks to the server, and the start of it, that it talked to before.
#[derive(Clone, Copy)]
pub(crate) struct State {
    server_id: [u8; 16],
    /// New at every start.
    pub(crate) boot_epoch: [u8; 16],
    /// When this start was.
    pub(crate) started: Time,
}

impl State {
    /// Reads the server's id from its state folder, or makes it there at the first start.
    ///
    /// # Errors
    /// As `open(2)`; `InvalidData` when the file holds no id.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        named::private_folder(folder)?;
        let place = named::Place::find(&folder.join("server-id"))?;
        let server_id = match place.read() {
            Ok(contents) => contents
                .bytes
                .as_slice()
                .try_into()
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "server-id holds no id"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let fresh = random()?;
                place.replace(&fresh, 0o600, None)?;
                fresh
            }
            Err(error) => return Err(error),
        };
        Ok(Self { server_id, boot_epoch: random()?, started: SystemTime::now().into() })
    }

    /// The same for as long as the module has this name and path.
    pub(crate) fn module_id(&self, module: &Module) -> [u8; 16] {
        let mut text = self.server_id.to_vec();
        text.extend_from_slice(&(module.name.len() as u64).to_le_bytes());
        text.extend_from_slice(module.name.as_bytes());
        if let Some(path) = &module.path {
            text.extend_from_slice(path.as_os_str().as_encoded_bytes());
        }
        let mut id = [0; 16];
        id.copy_from_slice(&Digest::of(&text).0[..16]);
        id
    }
}

fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::from)?;
    Ok(bytes)
}
