package pebble

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Paths of Pebble, as far as tests look at them.
const (
	NewAccount  = "/sign-me-up"
	NewOrder    = "/order-plz"
	Order       = "/my-order/"
	Authz       = "/authZ/"
	Challenge   = "/chalZ/"
	Finalize    = "/finalize-order/"
	Certificate = "/certZ/"
	RenewalInfo = "/draft-ietf-acme-ari-03/renewalInfo/"
)

// Intercept stands between a client and the authority. payload is what the
// client signed, "" where it is nothing; forward has the authority answer.
type Intercept func(w http.ResponseWriter, r *http.Request, payload string, forward http.HandlerFunc)

// Front is an https server that passes everything on to Pebble.
type Front struct {
	URL string

	mu        sync.Mutex
	intercept Intercept
	paths     []string
}

func startFront(t testing.TB, backend, certFile, keyFile string, config *tls.Config) *Front {
	t.Helper()
	f := &Front{}
	listener, err := net.Listen("tcp", net.JoinHostPort(Host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	f.URL = "https://" + listener.Addr().String()
	proxy := &httputil.ReverseProxy{
		// The Host header stays: Pebble makes its URLs of it.
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL = &url.URL{Scheme: "https", Host: backend, Path: r.In.URL.Path}
		},
		Transport:    &http.Transport{TLSClientConfig: config},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { HangUp(w) },
	}
	server := &http.Server{
		Handler:           f.handler(proxy.ServeHTTP),
		ReadHeaderTimeout: time.Minute,
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/2 cannot hang up
	}
	server.ErrorLog = log.New(io.Discard, "", 0) // connections that were cut off
	go func() { _ = server.ServeTLS(listener, certFile, keyFile) }()
	t.Cleanup(func() { _ = server.Close() })
	return f
}

func (f *Front) handler(forward http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			HangUp(w)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		f.mu.Lock()
		f.paths = append(f.paths, r.URL.Path)
		intercept := f.intercept
		f.mu.Unlock()
		if intercept == nil {
			forward(w, r)
			return
		}
		var jws struct{ Payload string }
		_ = json.Unmarshal(body, &jws) // a GET has none
		payload, _ := base64.RawURLEncoding.DecodeString(jws.Payload)
		intercept(w, r, string(payload), forward)
	}
}

// Intercept sets what stands in between from now on; nil is nothing.
func (f *Front) Intercept(i Intercept) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.intercept = i
}

// Requests is how many requests there have been for a path, or below it where it
// ends with a slash; "" counts all.
func (f *Front) Requests(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, p := range f.paths {
		if path == "" || p == path || strings.HasSuffix(path, "/") && strings.HasPrefix(p, path) {
			n++
		}
	}
	return n
}

// Refuse answers with a problem document (RFC 7807).
func Refuse(w http.ResponseWriter, status int, kind, detail, retryAfter string) {
	w.Header().Set("Content-Type", "application/problem+json")
	if retryAfter != "" {
		w.Header().Set("Retry-After", retryAfter)
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "urn:ietf:params:acme:error:" + kind, "detail": detail, "status": status})
}

// HangUp ends the connection without an answer.
func HangUp(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = conn.Close()
}

// makeServerCertificate makes what the authority serves its own https with.
func makeServerCertificate(t testing.TB, dir string) (certFile, keyFile string, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.ParseIP(Host)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	certFile, keyFile = filepath.Join(dir, "https.pem"), filepath.Join(dir, "https.key")
	for file, content := range map[string][]byte{certFile: certPEM, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, &tls.Config{RootCAs: pool}
}

// Host is the address that everything here listens on: a loopback address of this
// process's own, so that tests of several processes do not take each other's
// ports. Its neighbours, up to .254, are free for tests.
var Host = fmt.Sprintf("127.%d.%d.1", 1+mrand.IntN(254), mrand.IntN(256))

// Address is a port of Host.
func Address(port int) string { return net.JoinHostPort(Host, fmt.Sprint(port)) }

var (
	givenPorts = map[int]bool{}
	givingPort sync.Mutex
)

// FreePort finds a TCP and UDP port of Host that is free and below those
// that the kernel gives to outgoing connections.
func FreePort(t testing.TB) int {
	t.Helper()
	givingPort.Lock()
	defer givingPort.Unlock()
	for range 1000 {
		port := 30000 + mrand.IntN(2700)
		if givenPorts[port] || !free(port) {
			continue
		}
		givenPorts[port] = true
		return port
	}
	t.Fatal("no free port between 30000 and 32700")
	return 0
}

func free(port int) bool {
	l, err := net.Listen("tcp", Address(port))
	if err != nil {
		return false
	}
	defer l.Close()
	p, err := net.ListenPacket("udp", Address(port))
	if err != nil {
		return false
	}
	return p.Close() == nil
}
