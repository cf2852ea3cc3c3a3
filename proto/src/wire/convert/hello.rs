//! The first message each way.

use prost::bytes::Bytes;

use super::{path_bytes, path_or_root};
use crate::limits;
use crate::model::filter::Rules;
use crate::model::options::{Keeps, Options};
use crate::model::path::RelPath;
use crate::model::problem::{Misbehaved, Refusal, RefusalReason};
use crate::wire::generated as g;
use crate::wire::message::{Hello, Place, Welcome};

fn id16(bytes: &[u8], what: &'static str) -> Result<[u8; 16], Misbehaved> {
    bytes.try_into().map_err(|_| Misbehaved::Missing(what))
}

fn single_name(bytes: &[u8]) -> Result<Option<Box<[u8]>>, Misbehaved> {
    if bytes.is_empty() {
        return Ok(None);
    }
    RelPath::root().child(bytes)?;
    Ok(Some(bytes.into()))
}

impl TryFrom<g::Hello> for Hello {
    type Error = Misbehaved;

    fn try_from(hello: g::Hello) -> Result<Self, Misbehaved> {
        if hello.places.is_empty() || hello.places.len() > limits::SOURCES_MAX {
            return Err(Misbehaved::OutOfRange("number of places"));
        }
        let mut rules = Rules::default();
        for rule in &hello.rules {
            rules.push_wire(rule).map_err(|_| Misbehaved::OutOfRange("rule"))?;
        }
        let places = hello
            .places
            .into_iter()
            .map(|place| Ok(Place { path: path_or_root(&place.path)?, slash: place.slash }));
        Ok(Self {
            versions: hello.version_min..=hello.version_max,
            agent_id: id16(&hello.agent_id, "agent id")?,
            epoch: hello.epoch,
            module: hello.module,
            places: places.collect::<Result<_, Misbehaved>>()?,
            options: hello.options.ok_or(Misbehaved::Missing("options"))?.into(),
            rules,
            keeps: hello.keeps.map(TryInto::try_into).transpose()?,
            empty: hello.empty,
            watch: hello.watch,
            single_name: single_name(&hello.single_name)?,
            comparing: hello.comparing.as_deref().map(path_or_root).transpose()?,
        })
    }
}

impl From<Hello> for g::Hello {
    fn from(hello: Hello) -> Self {
        let place = |place: Place| g::Place {
            path: Bytes::copy_from_slice(place.path.as_bytes()),
            slash: place.slash,
        };
        Self {
            version_min: *hello.versions.start(),
            version_max: *hello.versions.end(),
            agent_id: Bytes::copy_from_slice(&hello.agent_id),
            epoch: hello.epoch,
            module: hello.module,
            places: hello.places.into_iter().map(place).collect(),
            options: Some(hello.options.into()),
            rules: hello.rules.iter().map(Bytes::copy_from_slice).collect(),
            keeps: hello.keeps.map(Into::into),
            empty: hello.empty,
            watch: hello.watch,
            single_name: hello.single_name.map(Bytes::from).unwrap_or_default(),
            comparing: hello.comparing.map(|dir| path_bytes(&dir)),
        }
    }
}

impl From<g::Options> for Options {
    fn from(o: g::Options) -> Self {
        Self {
            recursive: o.recursive,
            links: o.links,
            perms: o.perms,
            times: o.times,
            owner: o.owner,
            group: o.group,
            devices: o.devices,
            specials: o.specials,
            delete: o.delete,
            // Never the peer's to say: the module's `ignore errors` decides on the server, nothing on the agent.
            ignore_errors: false,
            dry_run: o.dry_run,
            partial: o.partial,
            compress: o.compress,
            bwlimit: o.bwlimit,
            report: o.report,
            keep_replaced: o.keep_replaced,
            checksum: o.checksum,
        }
    }
}

impl From<Options> for g::Options {
    fn from(o: Options) -> Self {
        Self {
            recursive: o.recursive,
            links: o.links,
            perms: o.perms,
            times: o.times,
            owner: o.owner,
            group: o.group,
            devices: o.devices,
            specials: o.specials,
            delete: o.delete,
            dry_run: o.dry_run,
            partial: o.partial,
            compress: o.compress,
            bwlimit: o.bwlimit,
            report: o.report,
            keep_replaced: o.keep_replaced,
            checksum: o.checksum,
        }
    }
}

impl TryFrom<g::Keeps> for Keeps {
    type Error = Misbehaved;

    fn try_from(keeps: g::Keeps) -> Result<Self, Misbehaved> {
        if !(1..=1_000_000_000).contains(&keeps.time_granularity_ns) {
            return Err(Misbehaved::OutOfRange("time granularity"));
        }
        Ok(Self {
            owners: keeps.owners,
            devices: keeps.devices,
            time_granularity_ns: keeps.time_granularity_ns,
            numeric_ids: keeps.numeric_ids,
        })
    }
}

impl From<Keeps> for g::Keeps {
    fn from(keeps: Keeps) -> Self {
        Self {
            owners: keeps.owners,
            devices: keeps.devices,
            time_granularity_ns: keeps.time_granularity_ns,
            numeric_ids: keeps.numeric_ids,
        }
    }
}

impl TryFrom<g::Welcome> for Welcome {
    type Error = Misbehaved;

    fn try_from(welcome: g::Welcome) -> Result<Self, Misbehaved> {
        Ok(Self {
            version: welcome.version,
            module_id: id16(&welcome.module_id, "module id")?,
            boot_epoch: id16(&welcome.boot_epoch, "boot epoch")?,
            keeps: welcome.keeps.ok_or(Misbehaved::Missing("keeps"))?.try_into()?,
            empty: welcome.empty,
            single_name: single_name(&welcome.single_name)?,
            created: welcome.created,
            ignore_errors: welcome.ignore_errors,
        })
    }
}

impl From<Welcome> for g::Welcome {
    fn from(welcome: Welcome) -> Self {
        Self {
            version: welcome.version,
            module_id: Bytes::copy_from_slice(&welcome.module_id),
            boot_epoch: Bytes::copy_from_slice(&welcome.boot_epoch),
            keeps: Some(welcome.keeps.into()),
            empty: welcome.empty,
            single_name: welcome.single_name.map(Bytes::from).unwrap_or_default(),
            created: welcome.created,
            ignore_errors: welcome.ignore_errors,
        }
    }
}

impl From<g::Refused> for Refusal {
    fn from(refused: g::Refused) -> Self {
        use g::refused::Reason as R;
        let reason = match refused.reason() {
            // A reason newer than this build: the text still says what happened.
            R::Unspecified | R::Access => RefusalReason::Access,
            R::AuthenticationNeeded => RefusalReason::AuthenticationNeeded,
            R::Busy => RefusalReason::Busy,
            R::Destination => RefusalReason::Destination,
            R::Superseded => RefusalReason::Superseded,
            R::Rights => RefusalReason::Rights,
            R::Source => RefusalReason::Source,
            R::Selection => RefusalReason::Selection,
            R::Unsupported => RefusalReason::Unsupported,
        };
        Self { text: refused.text, reason }
    }
}

impl From<Refusal> for g::Refused {
    fn from(refusal: Refusal) -> Self {
        use g::refused::Reason as R;
        let reason = match refusal.reason {
            RefusalReason::Access => R::Access,
            RefusalReason::AuthenticationNeeded => R::AuthenticationNeeded,
            RefusalReason::Busy => R::Busy,
            RefusalReason::Destination => R::Destination,
            RefusalReason::Superseded => R::Superseded,
            RefusalReason::Rights => R::Rights,
            RefusalReason::Source => R::Source,
            RefusalReason::Selection => R::Selection,
            RefusalReason::Unsupported => R::Unsupported,
        };
        Self { reason: reason.into(), text: refusal.text }
    }
}
