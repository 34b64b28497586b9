package imapcopy

import (
	"crypto/x509"
	"io"
	"net"
	"sync/atomic"
)

func poolOf(cert *x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}

// breaking is a listener whose connections end after so many octets to the
// client.
type breaking struct {
	net.Listener
	allow *atomic.Int64
}

func (b breaking) Accept() (net.Conn, error) {
	conn, err := b.Listener.Accept()
	if err != nil || b.allow == nil || b.allow.Load() <= 0 {
		return conn, err
	}
	return &breakingConn{conn, b.allow.Load()}, nil
}

type breakingConn struct {
	net.Conn
	left int64
}

func (c *breakingConn) Write(b []byte) (int, error) {
	if int64(len(b)) <= c.left {
		c.left -= int64(len(b))
		return c.Conn.Write(b)
	}
	n, _ := c.Conn.Write(b[:c.left])
	c.left = 0
	_ = c.Close()
	return n, io.ErrClosedPipe
}
