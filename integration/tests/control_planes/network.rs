//! Networks of pods that cannot share one, because their proxies listen on the same ports.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Result, ensure};

/// That of the first pod, if it has one.
pub const NETWORK: &str = "pod";
/// That of the second pod.
pub const SECOND_NETWORK: &str = "pod2";

/// Make a network with that address in it, which moves there if it is this machine's. What is there already is made anew.
pub fn make(name: &str, address: Ipv4Addr) -> Result<()> {
    let [a, b, c, _] = address.octets();
    let gateway = Ipv4Addr::new(a, b, c, 254);
    let script = format!(
        "set -e
        ip address del {address}/32 dev lo 2>/dev/null || true
        ip link del to-{name} 2>/dev/null || true
        ip netns del {name} 2>/dev/null || true
        ip netns add {name}
        ip link add to-{name} type veth peer name eth0 netns {name}
        ip address add {gateway}/24 dev to-{name}
        ip link set to-{name} up
        ip -n {name} link set lo up
        ip -n {name} address add {address}/24 dev eth0
        ip -n {name} link set eth0 up
        ip -n {name} route add default via {gateway}"
    );
    let made = Command::new("sh").args(["-c", &script]).output()?;
    let said = String::from_utf8_lossy(&made.stderr);
    ensure!(made.status.success(), "{said}");
    Ok(())
}
