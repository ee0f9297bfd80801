//! Which hosts may be asked: what a workflow's author may reach through a worker is the internet, and not the worker's own network.
//! A name is resolved once, every address that it has is checked, and a checked one is connected to; so are the targets of
//! redirects.

use std::{
    error::Error,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// Finds a name's addresses.
pub(super) type Lookup = Arc<dyn Fn(String) -> crate::handlers::BoxFuture<io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Says which addresses may be connected to.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) allows: fn(IpAddr) -> bool,
    pub(super) lookup: Lookup,
}

/// A host that must not be asked.
#[derive(Debug)]
pub(super) struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Refused {}

impl Guard {
    /// The internet only.
    pub(super) fn public() -> Guard {
        Guard { allows: is_public, lookup: system() }
    }

    /// Any host.
    pub(super) fn none() -> Guard {
        Guard { allows: |_| true, lookup: system() }
    }

    /// Refuses what needs no resolver to be refused: another scheme, an address in the place of a name.
    pub(super) fn check(&self, url: &Url) -> Result<(), Refused> {
        if !["http", "https"].contains(&url.scheme()) {
            return Err(Refused(format!("`{}` is neither http nor https", url.scheme())));
        }
        let address = match url.host() {
            Some(url::Host::Ipv4(address)) => address.into(),
            Some(url::Host::Ipv6(address)) => address.into(),
            Some(url::Host::Domain(_)) => return Ok(()),
            None => return Err(Refused("there is no host in it".into())),
        };
        self.judge(&[address], &address.to_string())
    }

    fn judge(&self, addresses: &[IpAddr], host: &str) -> Result<(), Refused> {
        match addresses.iter().find(|address| !(self.allows)(**address)) {
            None => Ok(()),
            Some(address) => Err(Refused(format!(
                "`{host}` is at {address}, which is not on the public internet; a worker started with --allow-private-hosts may ask it"
            ))),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let addresses = (guard.lookup)(name.as_str().to_string()).await?;
            guard.judge(&addresses, name.as_str())?;
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

fn system() -> Lookup {
    Arc::new(|name| {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) })
    })
}

/// Whether an address is one of the public internet: none of the special-purpose registries (RFC 6890 and its successors).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 168, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [198, 18..=19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [224..=255, ..]
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // an IPv4 address in another form: mapped, translated (NAT64), 6to4
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // protocol assignments (Teredo among them), documentation
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // global unicast is all that is handed out
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_of_the_public_internet_is_known_in_every_form() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.2.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "5f00::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2a00::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn an_address_in_the_place_of_a_name_is_known_however_it_is_written() {
        let guard = Guard::public();
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]:80/",
            "http://127.0.0.1./",
            "http://①②⑦.0.0.1/",
            "ftp://1.1.1.1/",
            "file:///etc/passwd",
        ] {
            assert!(guard.check(&Url::parse(url).unwrap()).is_err(), "{url}");
        }
        for url in ["http://1.1.1.1/", "https://example.com/", "https://[2606:4700::1111]/"] {
            guard.check(&Url::parse(url).unwrap()).unwrap();
        }
    }
}
