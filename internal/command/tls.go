package command

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"time"
)

// Scheme returns how clients reach the server: http or https.
func (o *Serve) Scheme() string {
	if o.TLSCert != "" || o.TLSSelfSigned {
		return "https"
	}
	return "http"
}

// checkTLS reports options of TLS that do not fit together.
func (o *Serve) checkTLS() error {
	switch {
	case (o.TLSCert == "") != (o.TLSKey == ""):
		return errors.New("--tls-cert and --tls-key go together: a certificate and its key, each a PEM file")
	case o.TLSCert != "" && o.TLSSelfSigned:
		return errors.New("--tls-self-signed makes a certificate, and --tls-cert names one; give either")
	}
	return nil
}

// TLS returns the configuration of a server that speaks TLS, and nil for one that does
// not. hosts are those, with a port, that a certificate made for the server is valid for.
func (o *Serve) TLS(hosts []string) (*tls.Config, error) {
	var certificate tls.Certificate
	var err error
	switch {
	case o.TLSSelfSigned:
		certificate, err = o.selfSigned(hosts)
	case o.TLSCert != "":
		if certificate, err = tls.LoadX509KeyPair(o.TLSCert, o.TLSKey); err != nil {
			err = fmt.Errorf("cannot use --tls-cert %s with --tls-key %s: %w", o.TLSCert, o.TLSKey, err)
		}
	default:
		return nil, nil
	}
	// Browsers open sockets by HTTP/1.1.
	return &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}, err
}

// selfSigned makes a certificate for this run of the server.
func (o *Serve) selfSigned(hosts []string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "signalfhir, self-signed"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(0, 3, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true, // so that a client can be told to trust it
		DNSNames:              []string{"localhost", "*.localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if u, err := url.Parse(o.PublicURL); err == nil && u.Host != "" {
		hosts = append(hosts, u.Host)
	}
	hosts = append(hosts, o.AllowHost...)
	for _, host := range hosts {
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if host != "*" {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// trust returns whom the client trusts; nil means the authorities of the system.
func (o *Listen) trust() (*tls.Config, error) {
	switch {
	case o.Insecure && o.TLSCA != "":
		return nil, errors.New("--insecure trusts any certificate, and --tls-ca names whom to trust; give either")
	case o.Insecure:
		return &tls.Config{InsecureSkipVerify: true}, nil //nolint:gosec // as the user says
	case o.TLSCA == "":
		return nil, nil
	}
	data, err := os.ReadFile(o.TLSCA)
	if err != nil {
		return nil, fmt.Errorf("cannot read --tls-ca: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("--tls-ca %s: expected a PEM file with certificates", o.TLSCA)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// Fingerprint returns the SHA-256 of the certificate of a configuration, as browsers show it.
func Fingerprint(c *tls.Config) string {
	sum := sha256.Sum256(c.Certificates[0].Certificate[0])
	return fmt.Sprintf("%X", sum)
}
