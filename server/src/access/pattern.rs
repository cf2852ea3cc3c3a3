//! One element of an address list.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What one element stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// `*`
    Any,
    /// An address, or the addresses that agree with it in the bits of a mask.
    Net {
        /// Less the bits that do not count.
        net: IpAddr,
        /// Of the same family; contiguous unless it was written as an address.
        mask: IpAddr,
    },
}

/// Why an element is refused. Every text says what to write instead.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PatternError {
    #[error("malformed mask in `{0}`: did you mean {1}?")]
    Mask(String, String),
    #[error("malformed mask in `{0}`: the part after the `/` is a number from 0 to {1}, or an address")]
    MaskRange(String, u32),
    #[error("`{0}` is cut short, and rsync reads it as {1}: did you mean {2}?")]
    Short(String, String, String),
    #[error("`{0}` has octal digits, and rsync reads it as {1}: write that")]
    Octal(String, String),
    #[error("`{0}` is not an address: did you mean {1}?")]
    Address(String, String),
    #[error("`{0}` never matches, since such a client counts as IPv4: write {1}")]
    Mapped(String, String),
    #[error("`{0}` has an interface name: write {1}")]
    Scope(String, String),
    #[error("`{0}` is a host name to rsync, and names are not supported yet: write *")]
    All(String),
    #[error(
        "`{0}` excludes nothing: rsync has no EXCEPT and no `!`; list the address under the other of hosts allow, hosts deny"
    )]
    Except(String),
    #[error("`{0}`: host names and netgroups are not supported yet: write addresses")]
    Name(String),
}

impl Pattern {
    /// Reads one element.
    pub(super) fn parse(word: &str) -> Result<Self, PatternError> {
        if word == "*" {
            return Ok(Self::Any);
        }
        let (address, mask) =
            word.split_once('/').map_or((word, None), |(address, mask)| (address, Some(mask)));
        let Ok(ip) = address.parse::<IpAddr>() else { return Err(not_an_address(word, address)) };
        let mask = match mask {
            None => prefix(ip, bits(ip)),
            Some(text) => read_mask(word, ip, text)?,
        };
        if let IpAddr::V6(v6) = ip
            && let Some(v4) = v6.to_ipv4_mapped()
        {
            return Err(PatternError::Mapped(word.into(), as_ipv4(v4, mask)));
        }
        Ok(Self::Net { net: and(ip, mask), mask })
    }

    /// Whether it matches; `peer` is canonical (never an IPv4 address in IPv6's clothes).
    pub(super) fn matches(&self, peer: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Net { net, mask } => net.is_ipv4() == peer.is_ipv4() && and(peer, *mask) == *net,
        }
    }

    /// No client has the unspecified address.
    pub(super) fn matches_nobody(&self) -> bool {
        matches!(self, Self::Net { net, mask } if net.is_unspecified() && *mask == prefix(*net, bits(*net)))
    }

    /// Whether it matches every address of the family of `of`.
    pub(super) fn is_whole_family(&self, of: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Net { mask, .. } => mask.is_unspecified() && mask.is_ipv4() == of.is_ipv4(),
        }
    }
}

/// As one would write it.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Net { net, mask } = self else { return f.write_str("*") };
        match (0..=bits(*net)).find(|len| prefix(*net, *len) == *mask) {
            Some(len) if len == bits(*net) => write!(f, "{net}"),
            Some(len) => write!(f, "{net}/{len}"),
            None => write!(f, "{net}/{mask}"),
        }
    }
}

/// A list with every element as it was most likely meant, for messages only.
pub(super) fn mended(list: &str) -> String {
    let words = list.split([' ', ',', '\t']).filter(|word| !word.is_empty());
    let mend = |word: &str| match Pattern::parse(word) {
        Ok(_) => word.to_owned(),
        Err(_) => meant(word).unwrap_or_else(|| word.to_owned()),
    };
    words.map(mend).collect::<Vec<_>>().join(", ")
}

fn read_mask(word: &str, ip: IpAddr, text: &str) -> Result<IpAddr, PatternError> {
    if let Ok(mask) = text.parse::<IpAddr>()
        && mask.is_ipv4() == ip.is_ipv4()
    {
        return Ok(mask);
    }
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(len) if digits && len <= bits(ip) => Ok(prefix(ip, len)),
        _ => Err(match meant(word).filter(|_| text.contains('/')) {
            Some(meant) => PatternError::Mask(word.into(), meant),
            None => PatternError::MaskRange(word.into(), bits(ip)),
        }),
    }
}

/// What is wrong with a word whose first part is no address. `inet_aton(3)` would take some of them for one.
fn not_an_address(word: &str, address: &str) -> PatternError {
    let word = word.to_owned();
    if ["all", "unknown", "undetermined", "any"].contains(&word.to_ascii_lowercase().as_str()) {
        return PatternError::All(word);
    }
    if word.eq_ignore_ascii_case("except") || word.starts_with('!') {
        return PatternError::Except(word);
    }
    if let Some((plain, scope)) = address.split_once('%')
        && plain.parse::<IpAddr>().is_ok()
    {
        let written = word.replacen(&format!("%{scope}"), "", 1);
        return PatternError::Scope(word, written);
    }
    let numeric =
        !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_digit() || b".*".contains(&byte));
    if !numeric {
        return PatternError::Name(word);
    }
    let meant = meant(&word);
    if word.matches('/').count() > 1 {
        return match meant {
            Some(meant) => PatternError::Mask(word, meant),
            None => PatternError::MaskRange(word, 32),
        };
    }
    let Some(taken) = inet_aton(address) else {
        return match meant {
            Some(meant) => PatternError::Address(word, meant),
            None => PatternError::Name(word),
        };
    };
    let as_read = word.replacen(address, &taken.to_string(), 1);
    if address.matches('.').count() == 3 {
        return PatternError::Octal(word, as_read);
    }
    PatternError::Short(word, as_read.clone(), meant.unwrap_or(as_read))
}

/// The network that someone who wrote `192.168.0.`, `192.168.0.*`, `192.168.0/24` or `192.168.0/0/24` had in mind.
fn meant(word: &str) -> Option<String> {
    let (address, masks) =
        word.split_once('/').map_or((word, None), |(address, masks)| (address, Some(masks)));
    let given: Vec<&str> = address.split('.').take_while(|part| !part.is_empty() && *part != "*").collect();
    let known: Vec<u8> = given.iter().map_while(|part| part.parse().ok()).collect();
    if known.is_empty() || known.len() > 4 || known.len() < given.len() {
        return None;
    }
    let mut octets = [0; 4];
    octets[..known.len()].copy_from_slice(&known);
    let whole = 8 * u32::try_from(known.len()).ok()?;
    let len = match masks {
        None => whole,
        Some(masks) => masks.rsplit('/').next()?.parse().ok().filter(|len| *len <= 32)?,
    };
    Some(format!("{}/{len}", Ipv4Addr::from(octets)))
}

/// `inet_aton(3)`: one to four numbers, decimal or octal; the last fills what the others leave.
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let number = |part: &str| match part.strip_prefix('0') {
        Some(rest) if !rest.is_empty() => u32::from_str_radix(rest, 8).ok(),
        _ => part.parse().ok(),
    };
    let parts: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|part| *part > 255) {
        return None;
    }
    let left = 32 - 8 * u32::try_from(first.len()).ok()?;
    if left < 32 && *last >= 1 << left {
        return None;
    }
    let high = first.iter().zip([24, 16, 8]).fold(0, |sum, (part, shift)| sum | (part << shift));
    Some(Ipv4Addr::from(high | last))
}

fn as_ipv4(net: Ipv4Addr, mask: IpAddr) -> String {
    let len = match mask {
        IpAddr::V6(mask) => u128::from(mask).leading_ones().saturating_sub(96),
        IpAddr::V4(_) => 32,
    };
    format!("{net}/{len}")
}

fn bits(ip: IpAddr) -> u32 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// The mask of `len` leading ones, in the family of `ip`.
fn prefix(ip: IpAddr, len: u32) -> IpAddr {
    match ip {
        IpAddr::V4(_) => Ipv4Addr::from(u32::MAX.checked_shl(32 - len).unwrap_or(0)).into(),
        IpAddr::V6(_) => Ipv6Addr::from(u128::MAX.checked_shl(128 - len).unwrap_or(0)).into(),
    }
}

fn and(ip: IpAddr, mask: IpAddr) -> IpAddr {
    match (ip, mask) {
        (IpAddr::V4(ip), IpAddr::V4(mask)) => Ipv4Addr::from(u32::from(ip) & u32::from(mask)).into(),
        (IpAddr::V6(ip), IpAddr::V6(mask)) => Ipv6Addr::from(u128::from(ip) & u128::from(mask)).into(),
        _ => ip,
    }
}
