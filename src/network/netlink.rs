//! Links, addresses and routes of one network namespace, over rtnetlink. A socket belongs for ever
//! to the namespace in which it was opened, whatever thread uses it later.
//!
//! Messages are made by `netlink-packet-route`; each request is acknowledged by the kernel before
//! the call returns, so nothing here is half done without an error.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// A hardware address.
pub(crate) type Mac = [u8; 6];

/// What the kernel answers no later than (a lost answer must not hang a start).
const ANSWER_SECONDS: i64 = 10;

/// A socket in one network namespace.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// A network interface, as far as it is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// Set by whoever made it; here it names the daemon that an interface belongs to.
    pub(crate) alias: String,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    /// Index of the bridge that it is a port of.
    pub(crate) controller: Option<u32>,
}

/// How a port of a bridge behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortFlags {
    /// No frames to other ports that are isolated, too.
    pub(crate) isolated: bool,
    /// Frames may go back where they came from.
    pub(crate) hairpin: bool,
}

/// A pair of interfaces: one on a bridge here, the other in a namespace.
#[derive(Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) host: &'a str,
    pub(crate) bridge: u32,
    pub(crate) mtu: u32,
    pub(crate) inside: &'a str,
    pub(crate) namespace: BorrowedFd<'a>,
    pub(crate) mac: Mac,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let time = nix::sys::time::TimeVal::new(ANSWER_SECONDS, 0);
        // SAFETY: the socket is open for as long as the borrow.
        let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
        nix::sys::socket::setsockopt(&fd, nix::sys::socket::sockopt::ReceiveTimeout, &time)?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Sends a request and hands each message of the answer to `each`.
    fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            let (answer, _) = self.socket.recv_from_full()?;
            let mut rest = &answer[..];
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(io::Error::other)?;
                // Messages are padded to four bytes.
                let length = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(length.max(4)..).unwrap_or_default();
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::Error(error) => match error.code {
                        None => return Ok(()),
                        Some(_) => return Err(error.to_io()),
                    },
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::InnerMessage(inner) => each(inner),
                    _ => {}
                }
            }
        }
    }

    fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.ask(message, NLM_F_ACK | flags, |_| {})
    }

    /// All interfaces of the namespace.
    pub(crate) fn links(&mut self) -> io::Result<Vec<Link>> {
        let mut links = Vec::new();
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.ask(message, NLM_F_DUMP, |answer| {
            if let RouteNetlinkMessage::NewLink(link) = answer {
                links.push(Link::of(&link));
            }
        })?;
        Ok(links)
    }

    /// An interface by name; `None` if there is none.
    pub(crate) fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        let mut found = None;
        let asked = self.ask(RouteNetlinkMessage::GetLink(message), NLM_F_ACK, |answer| {
            if let RouteNetlinkMessage::NewLink(link) = answer {
                found = Some(Link::of(&link));
            }
        });
        match asked {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
            Ok(()) => Ok(found),
        }
    }

    /// Makes a bridge, down, and gives its index.
    pub(crate) fn add_bridge(
        &mut self,
        name: &str,
        alias: &str,
        mac: Mac,
        mtu: u32,
    ) -> io::Result<Link> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::IfAlias(alias.to_owned()),
            LinkAttribute::Address(mac.to_vec()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
        ];
        self.change(
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )?;
        // The alias is not taken at creation by every kernel.
        let link = self.link(name)?.ok_or_else(gone)?;
        if link.alias != alias {
            let mut message = LinkMessage::default();
            message.header.index = link.index;
            message.attributes = vec![LinkAttribute::IfAlias(alias.to_owned())];
            self.change(RouteNetlinkMessage::SetLink(message), 0)?;
        }
        Ok(link)
    }

    /// Makes a pair of interfaces: the near one on its bridge and up, the far one, down, directly
    /// in its namespace (moving it there later would cost tens of milliseconds).
    pub(crate) fn add_pair(&mut self, pair: &Pair<'_>) -> io::Result<()> {
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(pair.inside.to_owned()),
            LinkAttribute::Mtu(pair.mtu),
            LinkAttribute::Address(pair.mac.to_vec()),
            LinkAttribute::NetNsFd(pair.namespace.as_raw_fd()),
        ];
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes = vec![
            LinkAttribute::IfName(pair.host.to_owned()),
            LinkAttribute::Mtu(pair.mtu),
            LinkAttribute::Controller(pair.bridge),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        self.change(
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// Sets how a port of a bridge behaves.
    pub(crate) fn set_port(&mut self, index: u32, flags: PortFlags) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![
                InfoBridgePort::Isolated(flags.isolated),
                InfoBridgePort::HairpinMode(flags.hairpin),
            ])),
        ])];
        self.change(RouteNetlinkMessage::NewLink(message), 0)
    }

    pub(crate) fn set_up(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Removes an interface; one that is gone already is no error.
    pub(crate) fn remove_link(&mut self, name: &str) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        match self.change(RouteNetlinkMessage::DelLink(message), 0) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            done => done,
        }
    }

    /// Gives an interface an address, with no search for duplicates; one that it has is no error.
    pub(crate) fn add_address(&mut self, index: u32, address: IpNet) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = address.prefix_len();
        message.header.scope = match address.addr() {
            IpAddr::V4(four) if four.is_link_local() => AddressScope::Link,
            _ => AddressScope::Universe,
        };
        message.attributes = vec![
            AddressAttribute::Address(address.addr()),
            AddressAttribute::Local(address.addr()),
        ];
        match address {
            IpNet::V4(four) => {
                message.header.family = AddressFamily::Inet;
                if four.prefix_len() < 31 {
                    message
                        .attributes
                        .push(AddressAttribute::Broadcast(four.broadcast()));
                }
            }
            IpNet::V6(_) => {
                message.header.family = AddressFamily::Inet6;
                message
                    .attributes
                    .push(AddressAttribute::Flags(AddressFlags::Nodad));
            }
        }
        match self.change(
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_EXCL,
        ) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            done => done,
        }
    }

    /// Addresses of an interface, with their prefixes.
    pub(crate) fn addresses(&mut self, index: u32) -> io::Result<Vec<IpNet>> {
        let mut found = Vec::new();
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.ask(message, NLM_F_DUMP, |answer| {
            let RouteNetlinkMessage::NewAddress(answer) = answer else {
                return;
            };
            if answer.header.index != index {
                return;
            }
            // `IFA_LOCAL` is the own one where the interface has a peer.
            let local = answer.attributes.iter().find_map(|a| match a {
                AddressAttribute::Local(ip) => Some(*ip),
                _ => None,
            });
            let address = answer.attributes.iter().find_map(|a| match a {
                AddressAttribute::Address(ip) => Some(*ip),
                _ => None,
            });
            if let Some(ip) = local.or(address)
                && let Ok(net) = IpNet::new(ip, answer.header.prefix_len)
            {
                found.push(net);
            }
        })?;
        Ok(found)
    }

    /// A default route.
    pub(crate) fn add_default_route(&mut self, gateway: IpAddr, index: u32) -> io::Result<()> {
        let message = default_route(gateway, index);
        self.change(
            RouteNetlinkMessage::NewRoute(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// Destinations of all routes but the default ones, and of those that go out of the interface
    /// `except`.
    pub(crate) fn destinations(&mut self, except: Option<u32>) -> io::Result<Vec<IpNet>> {
        let mut found = Vec::new();
        let message = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        self.ask(message, NLM_F_DUMP, |answer| {
            let RouteNetlinkMessage::NewRoute(route) = answer else {
                return;
            };
            let mut to = None;
            for attribute in &route.attributes {
                match attribute {
                    RouteAttribute::Oif(index) if Some(*index) == except => return,
                    RouteAttribute::Destination(RouteAddress::Inet(ip)) => to = Some((*ip).into()),
                    RouteAttribute::Destination(RouteAddress::Inet6(ip)) => to = Some((*ip).into()),
                    _ => {}
                }
            }
            let length = route.header.destination_prefix_length;
            if let Some(ip) = to
                && length > 0
                && let Ok(net) = IpNet::new(ip, length)
            {
                found.push(net.trunc());
            }
        })?;
        Ok(found)
    }
}

impl Link {
    fn of(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            ..Self::default()
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::IfAlias(alias) => link.alias.clone_from(alias),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Controller(index) => link.controller = Some(*index),
                _ => {}
            }
        }
        link
    }
}

fn default_route(gateway: IpAddr, index: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.header.address_family = match gateway {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.attributes = vec![
        RouteAttribute::Gateway(gateway.into()),
        RouteAttribute::Oif(index),
    ];
    message
}

/// Docker's hardware address of an endpoint: made of its address, so that neighbours' tables stay
/// true when an address is given out again.
pub(crate) fn mac_of(address: Option<Ipv4Addr>, six: Option<Ipv6Addr>) -> Mac {
    let four = match (address, six) {
        (Some(address), _) => address.octets(),
        (None, Some(six)) => {
            let o = six.octets();
            [o[12], o[13], o[14], o[15]]
        }
        (None, None) => [0; 4],
    };
    [0x02, 0x42, four[0], four[1], four[2], four[3]]
}

/// `02:42:ac:11:00:02`.
pub(crate) fn mac_text(mac: Mac) -> String {
    let parts: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    parts.join(":")
}

/// Reads a unicast hardware address, with `:` or `-`; `None` if it is none.
pub(crate) fn parse_mac(text: &str) -> Option<Mac> {
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next()?;
        if part.len() != 2 {
            return None;
        }
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    (parts.next().is_none() && mac[0] & 1 == 0).then_some(mac)
}

fn gone() -> io::Error {
    io::Error::other("the interface has vanished")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses() {
        let mac = mac_of(Some(Ipv4Addr::new(172, 17, 0, 2)), None);
        assert_eq!(mac_text(mac), "02:42:ac:11:00:02");
        assert_eq!(parse_mac("02:42:ac:11:00:02"), Some(mac));
        assert_eq!(parse_mac("02-42-AC-11-00-02"), Some(mac));
        for bad in [
            "",
            "02:42:ac:11:00",
            "02:42:ac:11:00:02:01",
            "01:00:00:00:00:00",
            "x",
        ] {
            assert_eq!(parse_mac(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_loopback_is_found() {
        let mut netlink = Netlink::open().unwrap();
        let lo = netlink.link("lo").unwrap().unwrap();
        assert_eq!(lo.index, 1);
        assert!(netlink.links().unwrap().contains(&lo));
        assert_eq!(netlink.link("no-such-link").unwrap(), None);
        netlink.addresses(lo.index).unwrap();
        netlink.destinations(None).unwrap();
    }
}
