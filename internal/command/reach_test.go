package command

import (
	"net"
	"slices"
	"testing"
)

func TestReach(t *testing.T) {
	t.Parallel()
	at := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 8080} }
	var interfaces []net.Addr
	for _, cidr := range []string{"127.0.0.1/8", "192.168.1.5/24", "192.168.1.5/32", "::1/128", "fe80::1/64", "2001:db8::5/64"} {
		ip, network, err := net.ParseCIDR(cidr)
		if err != nil {
			t.Fatal(err)
		}
		interfaces = append(interfaces, &net.IPNet{IP: ip, Mask: network.Mask})
	}
	all := []string{"127.0.0.1:8080", "192.168.1.5:8080", "[2001:db8::5]:8080"}
	for _, row := range []struct {
		ip     string
		hosts  []string
		beyond bool
	}{
		{"127.0.0.1", []string{"127.0.0.1:8080"}, false},
		{"127.0.0.2", []string{"127.0.0.2:8080"}, false},
		{"::1", []string{"[::1]:8080"}, false},
		{"192.168.1.5", []string{"192.168.1.5:8080"}, true},
		{"0.0.0.0", all, true},
		{"::", all, true},
	} {
		hosts, beyond := Reach(at(row.ip), interfaces)
		if !slices.Equal(hosts, row.hosts) || beyond != row.beyond {
			t.Errorf("%s: got %v %v, want %v %v", row.ip, hosts, beyond, row.hosts, row.beyond)
		}
	}
}
