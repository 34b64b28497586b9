package probe

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"io"
	"log"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"
)

const (
	testHost     = "mail.test"
	testUser     = "mailstack-probe@mail.test"
	testPassword = "right horse"
	testSecret   = "5ecret" // part of the address that takes the account's mail
	testInbox    = "mailstack-probe+" + testSecret + "@mail.test"
)

// world is a whole mail server in this process, and how it misbehaves.
type world struct {
	t    *testing.T
	ca   *authority
	tls  *tls.Config
	leaf [32]byte

	mu       sync.Mutex
	notify   string   // of the last message's recipient (RFC 3461)
	taken    string   // the last message that SMTP took
	messages [][]byte // what POP3 shows
	login    string   // the user's name
	imap     *imapmemserver.User
	target   Target

	// How it misbehaves. Set before start.
	sabotage       *sabotage     // of the wire
	noTLS          bool          // STARTTLS is offered and refused
	anyPassword    bool          // every password is right
	backendDown    bool          // nobody can be looked up
	vagueRefusal   bool          // a wrong password is refused without its code
	clearLogins    bool          // logins are taken without TLS
	authOn25       bool          // AUTH on port 25
	openRelay      bool          // mail to anywhere is taken from anybody
	trusts         string        // mail to anywhere is taken from this address
	onlyLogin      bool          // AUTH LOGIN is offered, and PLAIN is not
	full           bool          // there is no room for mail
	anySender      bool          // users send as anybody
	nullSender     bool          // users send as nobody
	anyAuthor      bool          // users write in the name of others
	hostedSender   bool          // port 25 takes mail from local addresses
	worldRecipient bool          // the probe's account may mail the world
	verifies       bool          // VRFY tells which addresses there are
	lax            bool          // any dot in a line of its own ends a message
	copies         int           // how often a message is delivered; 1
	delay          time.Duration // how long a message takes to arrive
	forward        *world        // where messages arrive instead
	greetAfter     time.Duration // how long the banner takes
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, ca: newAuthority(t), copies: 1}
	w.serve(w.ca.leaf(t, testHost, time.Hour))
	w.knowAs(testUser)
	w.target = Target{
		Stack: "test", Hostname: testHost, Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		Ports: make(map[string]uint16), Roots: w.ca.pool, User: testUser, Recipient: testInbox, Password: testPassword, Confined: true,
	}
	return w
}

// knowAs makes the mailbox anew, for a user with another login name.
func (w *world) knowAs(name string) {
	w.t.Helper()
	w.login = name
	w.imap = imapmemserver.NewUser(name, testPassword)
	must(w.t, w.imap.Create("INBOX", nil))
}

// serve makes every listener serve a certificate.
func (w *world) serve(cert tls.Certificate) {
	w.tls = &tls.Config{Certificates: []tls.Certificate{cert}}
	w.leaf = sha256.Sum256(cert.Certificate[0])
}

func (w *world) fingerprint() string { return hex.EncodeToString(w.leaf[:]) }

// start starts listeners and returns the target that they are.
func (w *world) start(keys ...string) Target {
	w.t.Helper()
	for _, key := range keys {
		switch key {
		case "imap", "imaps":
			w.startIMAP(key)
		case "smtp":
			if w.verifies || w.lax || w.sabotage != nil { // it takes sabotage after STARTTLS, too
				w.listen(key, w.serveOldSMTP)
			} else {
				w.startSMTP(key)
			}
		case "submission", "submissions":
			w.startSMTP(key)
		case "pop3", "pop3s":
			w.listen(key, w.servePOP3)
		case "managesieve":
			w.listen(key, w.serveSieve)
		}
	}
	return w.target
}

// listener opens a port on loopback and publishes it.
func (w *world) listener(key string) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(w.t, err)
	w.target.Ports[key] = netip.MustParseAddrPort(ln.Addr().String()).Port()
	w.t.Cleanup(func() { ln.Close() })
	return ln
}

// listen serves connections by hand.
func (w *world) listen(key string, serve func(conn net.Conn, implicit bool)) {
	w.each(key, func(conn net.Conn) {
		time.Sleep(w.greetAfter)
		if key == "pop3s" {
			serve(w.wrap(tls.Server(conn, w.tls)), true)
		} else {
			serve(w.wrapClear(conn), false)
		}
	})
}

// each does something with every connection to a port, and then closes it.
func (w *world) each(key string, do func(conn net.Conn)) {
	ln := w.listener(key)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				do(conn)
			}()
		}
	}()
}

// wrap puts the sabotage, if any, above TLS.
func (w *world) wrap(conn net.Conn) net.Conn {
	if w.sabotage == nil || w.sabotage.clear {
		return conn
	}
	return &sabotagedConn{Conn: conn, sabotage: *w.sabotage}
}

// wrapClear puts the sabotage, if any, below TLS.
func (w *world) wrapClear(conn net.Conn) net.Conn {
	if w.sabotage == nil || !w.sabotage.clear {
		return conn
	}
	return &sabotagedConn{Conn: conn, sabotage: *w.sabotage}
}

// wrapListener is wrap for servers that accept by themselves.
type wrapListener struct {
	net.Listener
	w *world
}

// clearListener is wrapClear for servers that accept by themselves.
type clearListener struct {
	net.Listener
	w *world
}

func (l clearListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.w.wrapClear(conn), nil
}

func (l wrapListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if l.w.greetAfter > 0 {
		time.Sleep(l.w.greetAfter)
	}
	return l.w.wrap(tls.Server(conn, l.w.tls)), nil
}

func (w *world) startIMAP(key string) {
	mem := imapmemserver.New()
	mem.AddUser(w.imap)
	options := &imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return &imapFake{mem.NewSession(), w}, nil, nil
		},
		Caps:         imap.CapSet{imap.CapIMAP4rev1: {}, imap.CapUIDPlus: {}},
		Logger:       log.New(io.Discard, "", 0),
		TLSConfig:    w.tls,
		InsecureAuth: w.clearLogins || key == "imaps", // the wrapper hides TLS from the server
	}
	if w.noTLS {
		options.TLSConfig = nil
	}
	server := imapserver.New(options)
	ln := w.listener(key)
	if key == "imaps" {
		ln = wrapListener{ln, w}
	} else {
		ln = clearListener{ln, w}
	}
	go server.Serve(ln)
	w.t.Cleanup(func() { server.Close() })
}

// imapFake is the library's session with other ideas about passwords.
type imapFake struct {
	imapserver.Session
	w *world
}

func (s *imapFake) Login(user, password string) error {
	switch {
	case s.w.backendDown:
		return &imap.Error{Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodeUnavailable, Text: "Temporary failure"}
	case s.w.anyPassword:
		password = testPassword
	case s.w.vagueRefusal && password != testPassword:
		return &imap.Error{Type: imap.StatusResponseTypeNo, Text: "no"}
	}
	return s.Session.Login(user, password)
}

// arrive puts a message into the mailbox.
func (w *world) arrive(message []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.messages = append(w.messages, message)
	_, err := w.imap.Append("INBOX", literal{bytes.NewReader(message)}, &imap.AppendOptions{})
	if err != nil {
		w.t.Error(err)
	}
}

type literal struct{ *bytes.Reader }

func (l literal) Size() int64 { return int64(l.Len()) }

// inbox is the number of messages that IMAP shows.
func (w *world) inbox() int {
	status, err := w.imap.Status("INBOX", &imap.StatusOptions{NumMessages: true})
	must(w.t, err)
	return int(*status.NumMessages)
}

// sabotage is what a server does to its answers once it has read a command.
type sabotage struct {
	after string // the command, in capitals; "" means from the first byte
	how   string // silent, reset, close, half, garbage, flood, long, binary
	clear bool   // before STARTTLS instead of above TLS
}

type sabotagedConn struct {
	net.Conn
	sabotage
	mu   sync.Mutex
	seen string
}

func (c *sabotagedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	c.seen += strings.ToUpper(string(p[:n]))
	c.mu.Unlock()
	return n, err
}

func (c *sabotagedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	struck := strings.Contains(c.seen, c.after)
	c.mu.Unlock()
	if !struck {
		return c.Conn.Write(p)
	}
	below := c.Conn
	if t, ok := below.(*tls.Conn); ok {
		if err := t.Handshake(); err != nil {
			return 0, err
		}
		below = t.NetConn()
	}
	switch c.how {
	case "silent": // until the client has had enough
		io.Copy(io.Discard, c.Conn)
	case "close":
		c.Conn.Close()
	case "reset":
		below.(*net.TCPConn).SetLinger(0)
		below.Close()
	case "half":
		c.Conn.Write(p[:len(p)/2])
		c.Conn.Close()
	case "garbage":
		c.Conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n"))
	case "binary":
		c.Conn.Write([]byte("\x00\x01\x02\xff\r\n"))
	case "long":
		c.Conn.Write(bytes.Repeat([]byte("x"), 2*maxLine))
	case "flood":
		line := append(bytes.TrimRight(p, "\r\n"), "\r\n"...)
		for {
			if _, err := c.Conn.Write(bytes.Repeat(line, 100)); err != nil {
				break
			}
		}
	}
	return len(p), nil
}

// authority is a certificate authority.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert, key, pool}
}

// leaf issues a certificate that is valid for so long from now.
func (ca *authority) leaf(t *testing.T, name string, valid time.Duration) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{name},
		NotBefore: time.Now().Add(-valid), NotAfter: time.Now().Add(valid),
	}
	if valid < 0 {
		template.NotBefore = time.Now().Add(-24 * time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// parsed is the leaf of a certificate.
func parsed(t *testing.T, cert tls.Certificate) *x509.Certificate {
	t.Helper()
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	must(t, err)
	return leaf
}
