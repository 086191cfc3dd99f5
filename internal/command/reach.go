package command

import (
	"net"
	"slices"
)

// Reach returns the hosts, with their port, that clients can reach a server at that
// listens on addr, and whether that is beyond this machine. interfaces are the addresses
// of this machine, as [net.InterfaceAddrs] returns them.
func Reach(addr net.Addr, interfaces []net.Addr) (hosts []string, beyond bool) {
	host, port, err := net.SplitHostPort(addr.String())
	ip := net.ParseIP(host)
	if err != nil || ip == nil {
		return []string{addr.String()}, true
	}
	if !ip.IsUnspecified() {
		return []string{addr.String()}, !ip.IsLoopback()
	}
	hosts = []string{net.JoinHostPort("127.0.0.1", port)}
	for _, i := range interfaces {
		network, ok := i.(*net.IPNet)
		// A link-local address needs a zone, which no URL has in a browser.
		if !ok || !network.IP.IsGlobalUnicast() {
			continue
		}
		if h := net.JoinHostPort(network.IP.String(), port); !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	return hosts, true
}
