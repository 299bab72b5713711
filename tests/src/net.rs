//! A network of machines on this machine: a bridge, and for each machine a namespace with an interface
//! of its own, whose packets can be dropped.
//!
//! ```text
//!  this process, 10.A.B.1 ── bridge ──┬── veth ── namespace one,   10.A.B.11
//!                                     ├── veth ── namespace two,   10.A.B.12
//!                                     └── ...
//!  rules stand at both ends of a veth, where packets arrive: what they drop is lost on the way, and no
//!  sender gets an error.
//! ```
//! Needs root, and Debian's iproute2 and nftables. A shell that waits for the end of a pipe takes all of
//! it down again, by the names that were made here, however this process ends; before, it kills what
//! still runs in these namespaces.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, ensure};

pub use stockade_testkit::relay::Relay;

/// Takes a network down: `$1` is the bridge, the others are the namespaces. The table of a namespace goes
/// with it, those of this machine have the name of the bridge.
const TAKE_DOWN: &str = r#"read end; bridge=$1; shift
for ns in "$@"; do
  for pid in $(ip netns pids "$ns"); do kill -KILL "$pid"; done
  ip netns del "$ns"
done 2>/dev/null
nft delete table netdev "$bridge" 2>/dev/null
for link in $(ls "/sys/class/net/$bridge/brif") "$bridge"; do ip link del "$link"; done 2>/dev/null"#;

/// A network. It ends when it is dropped, and when the process ends.
pub struct Net {
    bridge: String,
    /// The first three numbers of all addresses.
    prefix: String,
    machines: Vec<Machine>,
    janitor: Child,
}

/// A machine of a network.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The namespace.
    pub namespace: String,
    /// Its address.
    pub address: String,
    /// The end of its veth on this machine.
    outside: String,
}

/// Whether this process may make networks: whether it is root.
#[must_use]
pub fn is_allowed() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    uids.split_whitespace().nth(1) == Some("0")
}

impl Net {
    /// A network with machines of these names, at most 200.
    ///
    /// # Errors
    /// A command failed: its text.
    pub fn new(names: &[&str]) -> anyhow::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (pid, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        // An interface's name has 15 bytes at most.
        let bridge = format!("sk{pid:x}n{number}");
        let unlike = pid.wrapping_add(number.wrapping_mul(7_919));
        let prefix = format!("10.{}.{}", 64 + unlike % 128, unlike / 128 % 250);
        let machines: Vec<Machine> = (11..)
            .zip(names)
            .map(|(last, name)| Machine {
                namespace: format!("{bridge}-{name}"),
                address: format!("{prefix}.{last}"),
                outside: format!("{bridge}v{last}"),
            })
            .collect();
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", TAKE_DOWN, "sh", &bridge]);
        shell.args(machines.iter().map(|machine| &machine.namespace));
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // What ends the group of this process, like Ctrl-C, leaves the shell to its work.
        let janitor = shell.process_group(0).spawn().context("start a shell")?;
        let net = Self { bridge, prefix, machines, janitor };
        net.make()?;
        Ok(net)
    }

    fn make(&self) -> anyhow::Result<()> {
        let Self { bridge, prefix, .. } = self;
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("addr add {prefix}.1/24 dev {bridge}"))?;
        ip(&format!("link set {bridge} up"))?;
        for Machine { namespace, address, outside } in &self.machines {
            ip(&format!("netns add {namespace}"))?;
            ip(&format!("link add {outside} type veth peer name eth0 netns {namespace}"))?;
            ip(&format!("link set {outside} master {bridge} up"))?;
            ip(&format!("-n {namespace} addr add {address}/24 dev eth0"))?;
            ip(&format!("-n {namespace} link set eth0 up"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
        }
        Ok(())
    }

    /// The address of this machine in the network.
    #[must_use]
    pub fn gateway(&self) -> String {
        format!("{}.1", self.prefix)
    }

    /// The machines, in the order of their names.
    #[must_use]
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// Drops what leaves a machine and fits one of the rules of `out`, and what arrives there and fits
    /// one of `arriving`: conditions of nftables. Replaces the rules of before.
    ///
    /// # Errors
    /// `nft` refused them.
    pub fn drop_packets(
        &self,
        machine: &Machine,
        out: &[String],
        arriving: &[String],
    ) -> anyhow::Result<()> {
        let (table, Machine { namespace, outside, .. }) = (&self.bridge, machine);
        // On this machine there is a chain for each veth, in one table.
        let chain = |device: &str, rules: &[String]| {
            let rules: String = rules.iter().map(|rule| format!("    {rule} drop\n")).collect();
            format!(
                "table netdev {table} {{\n  chain {outside} {{\n    type filter hook ingress device \
                 \"{device}\" priority 0; policy accept;\n{rules}  }}\n}}\n"
            )
        };
        let anew = format!("add table netdev {table}\n");
        let empty =
            |device: &str| format!("{}flush chain netdev {table} {outside}\n", chain(device, &[]));
        nft(&[], &format!("{anew}{}{}", empty(outside), chain(outside, out)))?;
        let inside = ["ip", "netns", "exec", namespace];
        nft(&inside, &format!("{anew}{}{}", empty("eth0"), chain("eth0", arriving)))
    }
}

impl Machine {
    /// The begin of a command that runs there.
    #[must_use]
    pub fn prefix(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.namespace].map(str::to_owned).to_vec()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        drop(self.janitor.wait());
    }
}

fn ip(words: &str) -> anyhow::Result<()> {
    let output = Command::new("ip").args(words.split(' ')).output().context("run ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {words}: {said}");
    Ok(())
}

fn nft(prefix: &[&str], text: &str) -> anyhow::Result<()> {
    let mut words = prefix.iter().copied().chain(["nft", "-f", "-"]);
    let mut command = Command::new(words.next().context("a command")?);
    let pipes = command.args(words).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().context("run nft")?;
    child.stdin.take().context("a pipe")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "nft: {said}\n{text}");
    Ok(())
}
