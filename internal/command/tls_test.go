package command

import (
	"crypto/x509"
	"testing"
)

// The certificate is valid wherever the server is reached, and trusted by whoever trusts it.
func TestTLS_SelfSigned(t *testing.T) {
	t.Parallel()
	o := &Serve{TLSSelfSigned: true, PublicURL: "https://fhir.example.org:8443/dev", AllowHost: []string{"*", "dev.example"}}
	config, err := o.TLS([]string{"127.0.0.1:8080", "192.168.1.5:8080", "[2001:db8::5]:8080"})
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(config.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	for _, host := range []string{"localhost", "app.localhost", "127.0.0.1", "::1", "192.168.1.5", "2001:db8::5", "fhir.example.org", "dev.example"} {
		if _, err := certificate.Verify(x509.VerifyOptions{DNSName: host, Roots: pool}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := certificate.Verify(x509.VerifyOptions{DNSName: "other.example", Roots: pool}); err == nil {
		t.Error("the certificate is for any host")
	}
	if config, err := (&Serve{}).TLS(nil); config != nil || err != nil {
		t.Errorf("without an option: got %v, %v", config, err)
	}
}
