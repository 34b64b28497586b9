package probe

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"sync"
)

// tap starts listeners behind wires that are listened in on, and returns what
// was heard from the client so far.
func (w *world) tap(keys ...string) func() string {
	var (
		mu    sync.Mutex
		heard bytes.Buffer
	)
	w.start(keys...)
	for _, key := range keys {
		behind := w.target.Ports[key]
		w.each(key, func(conn net.Conn) {
			server, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", behind))
			if err != nil {
				return
			}
			defer server.Close()
			go io.Copy(conn, server)
			io.Copy(io.MultiWriter(server, writerFunc(func(p []byte) {
				mu.Lock()
				defer mu.Unlock()
				heard.Write(p)
			})), conn)
		})
	}
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return heard.String()
	}
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

// containsPassword says whether the probe's password is in what was sent, as it
// is or in a SASL response.
func containsPassword(sent string) bool {
	response := base64.StdEncoding.EncodeToString([]byte("\x00" + testUser + "\x00" + testPassword))
	return bytes.Contains([]byte(sent), []byte(testPassword)) || bytes.Contains([]byte(sent), []byte(response))
}
