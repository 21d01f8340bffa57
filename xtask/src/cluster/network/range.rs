//! Which addresses a cluster uses, and how a free range is found. Pure values.

use super::super::state::Node;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::Ipv4Addr;

/// The second bytes that a range may have: away from what home routers, container engines and Kubernetes
/// distributions like to use.
const CANDIDATES: std::ops::RangeInclusive<u8> = 201..=239;

/// One /16, named by its second byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Range(u8);

impl Range {
    /// How many nodes have a place.
    pub(in super::super) const NODES: u8 = 60;

    pub(in super::super) const fn of(second_byte: u8) -> Self {
        Self(second_byte)
    }

    pub(in super::super) fn control_plane(self) -> Ipv4Addr {
        self.address(0, 1)
    }

    pub(in super::super) fn host(self) -> Ipv4Addr {
        self.address(0, 2)
    }

    pub(in super::super) fn node(self, node: &Node) -> Ipv4Addr {
        self.address(0, 10 + node.index)
    }

    pub(in super::super) fn pods_of(self, node: &Node) -> String {
        format!("{}/24", self.address(64 + node.index, 0))
    }

    /// All pods of the cluster.
    pub(in super::super) fn pods(self) -> String {
        format!("{}/18", self.address(64, 0))
    }

    pub(in super::super) fn services(self) -> String {
        format!("{}/18", self.address(128, 0))
    }

    /// The address of the service `kubernetes`: the first of the range.
    pub(in super::super) fn first_service(self) -> Ipv4Addr {
        self.address(128, 1)
    }

    /// The host's end of its link; a link's name has at most 15 characters.
    pub(in super::super) fn host_link(self) -> String {
        format!("mrn{}", self.0)
    }

    const fn address(self, third: u8, fourth: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.0, third, fourth)
    }

    fn block(self) -> Block {
        Block {
            first: self.address(0, 0).to_bits(),
            length: 16,
        }
    }
}

/// A block of addresses in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    first: u32,
    length: u32,
}

impl Block {
    /// Reads `10.1.2.0/24` or `10.1.2.3`; none for `default`.
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/').unwrap_or((text, "32"));
        let address: Ipv4Addr = address.parse().ok()?;
        let length = length.parse().ok().filter(|length| *length <= 32)?;
        Some(Self {
            first: address.to_bits(),
            length,
        })
    }

    fn overlaps(self, other: Self) -> bool {
        let shared = self.length.min(other.length);
        let mask = u32::MAX.checked_shl(32 - shared).unwrap_or(0);
        self.first & mask == other.first & mask
    }
}

/// The first range that overlaps nothing in use.
pub(super) fn choose(used: &[Block]) -> Result<Range> {
    let free = |range: &Range| !used.iter().any(|block| block.overlaps(range.block()));
    let Some(range) = CANDIDATES.map(Range::of).find(free) else {
        bail!(
            "this machine's routes or other clusters take every range from 10.{}.0.0/16 to 10.{}.0.0/16: \
             take down a cluster (`cargo xtask cluster list`) or a route (`ip route`)",
            CANDIDATES.start(),
            CANDIDATES.end()
        );
    };
    Ok(range)
}

/// The blocks that `ip -json route` and `ip -json address` name.
pub(super) fn used(routes: &str, addresses: &str) -> Result<Vec<Block>> {
    let routes: Value = serde_json::from_str(routes).context("reading the routes")?;
    let addresses: Value = serde_json::from_str(addresses).context("reading the addresses")?;
    let targets = list(&routes).filter_map(|route| Block::parse(route["dst"].as_str()?));
    let own = list(&addresses)
        .flat_map(|link| list(&link["addr_info"]))
        .filter_map(|one| {
            let length = one["prefixlen"].as_u64()?;
            Block::parse(&format!("{}/{length}", one["local"].as_str()?))
        });
    // A default route may be written as 0.0.0.0/0 or as two halves; neither takes a range.
    Ok(targets
        .chain(own)
        .filter(|block| block.length > 1)
        .collect())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(routes: &str, addresses: &str) -> Option<u8> {
        choose(&used(routes, addresses).unwrap())
            .ok()
            .map(|range| range.0)
    }

    #[test]
    fn the_first_free_range_is_taken() {
        let routes = r#"[{"dst":"default"},{"dst":"0.0.0.0/1"},{"dst":"10.201.3.0/24"},{"dst":"10.202.0.9"}]"#;
        let addresses =
            r#"[{"addr_info":[{"local":"10.203.1.1","prefixlen":16}]},{"addr_info":[{}]}]"#;
        assert_eq!(chosen(routes, addresses), Some(204));
        assert_eq!(chosen("[]", "[]"), Some(201));
        assert_eq!(chosen(r#"[{"dst":"10.192.0.0/11"}]"#, "[]"), Some(224));
    }

    #[test]
    fn a_wide_route_takes_them_all() {
        let refused = choose(&used(r#"[{"dst":"10.0.0.0/8"}]"#, "[]").unwrap()).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("from 10.201.0.0/16 to 10.239.0.0/16")
        );
    }

    #[test]
    fn addresses_of_all_roles_lie_apart() {
        let range = Range::of(201);
        let last = Node {
            index: Range::NODES,
            killed: false,
        };
        assert_eq!(range.node(&last), Ipv4Addr::new(10, 201, 0, 70));
        assert_eq!(range.pods_of(&last), "10.201.124.0/24");
        let block = |text: String| Block::parse(&text).unwrap();
        assert!(block(range.pods_of(&last)).overlaps(block(range.pods())));
        assert!(!block(range.pods()).overlaps(block(range.services())));
        assert!(!block("10.201.0.0/24".to_owned()).overlaps(block(range.pods())));
    }
}
