//! broken: a switch for tests alone. It breaks one mechanism that keeps a watch right, so that a test can show that
//! another test would notice: `DRIFTLESS_BROKEN=NAME` in the environment of a build with debug assertions. No other
//! build has it, nor asks the environment.

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    /// A second half of a rename is taken for that of the first half that has waited longest.
    Cookies,
    #[cfg(debug_assertions)]
    /// The end of a watch is taken for that of whatever stands at the path by now.
    IgnoredByDescriptor,
    /// A full queue is overlooked.
    Overflow,
    #[cfg(debug_assertions)]
    /// A file that changes while it is read is sent as it was read.
    Reread,
    /// Whatever stands at the source's path is taken for the source.
    RootIdentity,
    /// A new directory is watched and not read.
    ScanAfterWatch,
}

#[cfg(debug_assertions)]
mod switch {
    use std::sync::OnceLock;

    use super::Mechanism;

    static BROKEN: OnceLock<Mechanism> = OnceLock::new();

    const NAMES: [(&str, Mechanism); 6] = [
        ("cookies", Mechanism::Cookies),
        ("ignored-by-descriptor", Mechanism::IgnoredByDescriptor),
        ("overflow", Mechanism::Overflow),
        ("reread", Mechanism::Reread),
        ("root-identity", Mechanism::RootIdentity),
        ("scan-after-watch", Mechanism::ScanAfterWatch),
    ];

    /// Does what the environment asks for; to be called before anything works.
    ///
    /// # Panics
    /// On a name that is none: a test that breaks nothing would prove nothing.
    pub(crate) fn arm() {
        let Some(name) = std::env::var_os("DRIFTLESS_BROKEN") else { return };
        let known = NAMES.iter().find(|(known, _)| name == *known);
        let (_, mechanism) = known.unwrap_or_else(|| panic!("DRIFTLESS_BROKEN: no such mechanism: {name:?}"));
        if *BROKEN.get_or_init(|| *mechanism) == Mechanism::Reread {
            driftless_proto::transfer::sender::break_reread();
        }
    }

    pub(crate) fn is_broken(mechanism: Mechanism) -> bool {
        BROKEN.get() == Some(&mechanism)
    }
}

#[cfg(debug_assertions)]
pub(crate) use switch::{arm, is_broken};

/// Nothing is.
#[cfg(not(debug_assertions))]
pub(crate) const fn is_broken(_: Mechanism) -> bool {
    false
}
