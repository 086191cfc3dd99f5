package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/coder/websocket"
)

// certificate writes a certificate for 127.0.0.1 and its key to files.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	cert, key = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: encoded}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return cert, key, pool
}

// Every address that a server with TLS hands out is https or wss, and works.
func TestProgram_ServesTLS(t *testing.T) {
	t.Parallel()
	cert, key, pool := certificate(t)
	for name, row := range map[string]struct {
		args   []string
		config *tls.Config
	}{
		"a certificate": {[]string{"--tls-cert", cert, "--tls-key", key}, &tls.Config{RootCAs: pool}},
		"self-signed":   {[]string{"--tls-self-signed"}, &tls.Config{InsecureSkipVerify: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startProgram(t, append(row.args, "--listen", "127.0.0.1:0")...)
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: row.config, DisableKeepAlives: true}}
			if !strings.HasPrefix(p.url, "https://127.0.0.1:") || strings.Contains(p.stdout.String(), "http://") || strings.Contains(p.stdout.String(), "ws://") {
				t.Fatalf("the ready line is %s", p.stdout)
			}
			for _, path := range []string{"/mock/state", "/fhir/R5/metadata", "/fhir/R5/Patient?_count=1", "/rooms", "/fhir/R5/Subscription/admission-id-only/$get-ws-binding-token"} {
				res, err := client.Get(p.url + path)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(res.Body)
				res.Body.Close()
				_, host, _ := strings.Cut(p.url, "://")
				if text := string(body); res.StatusCode != 200 || !strings.Contains(text, "s://"+host) || strings.Contains(text, "http://"+host) || strings.Contains(text, "ws://"+host) {
					t.Errorf("%s: got %d with other addresses than https and wss:\n%.2000s", path, res.StatusCode, text)
				}
			}
			res, err := client.Get(p.url + "/mock/state")
			if err != nil {
				t.Fatal(err)
			}
			var state struct{ WS string }
			err = json.NewDecoder(res.Body).Decode(&state)
			res.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			socket, _, err := websocket.Dial(ctx, state.WS, &websocket.DialOptions{HTTPClient: client})
			if err != nil {
				t.Fatalf("%s: %v", state.WS, err)
			}
			defer socket.CloseNow()
			if err := socket.Write(ctx, websocket.MessageText, []byte("bind-with-token none")); err != nil {
				t.Fatal(err)
			}
			if _, frame, err := socket.Read(ctx); err != nil || !strings.Contains(string(frame), "OperationOutcome") {
				t.Errorf("the socket says %s, %v", frame, err)
			}
			if err := socket.Close(websocket.StatusNormalClosure, ""); err != nil {
				t.Errorf("the socket does not close in good order: %v", err)
			}
		})
	}
}

func TestProgram_RefusesWrongTLSOptions(t *testing.T) {
	t.Parallel()
	cert, key, _ := certificate(t)
	for _, row := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--tls-cert", cert}, 2, "--tls-cert and --tls-key go together"},
		{[]string{"--tls-key", key}, 2, "--tls-cert and --tls-key go together"},
		{[]string{"--tls-cert", cert, "--tls-key", key, "--tls-self-signed"}, 2, "give either"},
		{[]string{"--tls-cert", key, "--tls-key", cert}, 1, "cannot use --tls-cert " + key},
		{[]string{"--tls-cert", "/nowhere.pem", "--tls-key", key}, 1, "/nowhere.pem"},
	} {
		got := run(t, nil, append(row.args, "--listen", "127.0.0.1:0")...)
		if got.code != row.code || !strings.Contains(got.stderr, row.says) || strings.Count(strings.TrimSpace(got.stderr), "\n") > 0 {
			t.Errorf("%v: got exit %d and %q, want %d and a line with %q", row.args, got.code, got.stderr, row.code, row.says)
		}
	}
}

// The page works over TLS: its stream and its addresses.
func TestPage_OverTLS(t *testing.T) {
	t.Parallel()
	b := startBrowser(t, chromedp.Flag("ignore-certificate-errors", true))
	p := startProgram(t, "--tls-self-signed", "--listen", "127.0.0.1:0")
	t.Cleanup(func() { b.tolerate("net::ERR_") })
	b.within(t, "the page to be live", chromedp.Navigate(p.url+"/"), isLive)
	var opened string
	b.evaluate(t, `fetch("/mock/state").then((r) => r.json()).then((s) => new Promise((r) => { const w = new WebSocket(s.ws); w.onopen = () => r(s.ws.split(":")[0]); w.onerror = () => r("refused"); }))`, &opened)
	if opened != "wss" {
		t.Errorf("the socket: %s, want wss", opened)
	}
}
