package probe

import (
	"context"
	"errors"
	"io/fs"
	"strings"
)

// SocketCheck is one socket, to be looked at from inside a consumer of it.
type SocketCheck struct {
	Consumer string // the service that connects: "postfix"
	Socket   string // the socket's name: "dovecot/lmtp"
	// Look looks without touching anything.
	Look func(ctx context.Context) (SocketView, error)
}

// SocketView is a socket as its consumer sees it. Its JSON form is what
// mailstack-sockets prints in a container.
type SocketView struct {
	Socket  string `json:"socket"`
	Mount   string `json:"mount"`   // ro, rw or none
	Connect string `json:"connect"` // "ok" or the name of an error number, "ECONNREFUSED"
	Unlink  string `json:"unlink"`  // error name of unlinking a random name that is not there
}

// name is the name of the check.
func (s SocketCheck) name() string { return "sockets." + s.Consumer + "." + s.Socket }

func checkSocket(s SocketCheck) Func {
	return func(ctx context.Context, _ *Target, tr *Trace) error {
		return tr.step(ctx, lookStep, func() error {
			view, err := s.Look(ctx)
			if err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return unseen(err, "the look is taken from inside "+s.Consumer+": is it running? `mailstack status`")
			}
			return judgeSocket(s, view)
		})
	}
}

// judgeSocket: read-only is known twice, from the mount's flags and from the
// kernel's answer to an unlink that could do no harm. The kernel looks at the
// mount before it looks for the name, so that is EROFS although the name is not
// there; ENOENT would mean that names can be removed.
func judgeSocket(s SocketCheck, v SocketView) error {
	switch {
	case v.Mount == "none":
		return failf(KindSocket, "its directory is not mounted in %s", s.Consumer)
	case v.Mount != "ro":
		return failf(KindSocket, "its directory is mounted %s in %s, must be ro", printable(v.Mount), s.Consumer)
	case v.Unlink != "EROFS":
		return failf(KindSocket, "unlink in its directory gives %s in %s, must be EROFS", printable(v.Unlink), s.Consumer)
	}
	switch v.Connect {
	case "ok":
		return nil
	case "ENOENT":
		return &Failure{Kind: KindSocket, Detail: "it does not exist", Advice: s.listener("does not run, or has lost it")}
	case "ECONNREFUSED":
		return &Failure{Kind: KindSocket, Detail: "nobody listens on it", Advice: s.listener("has died")}
	case "EAGAIN":
		return &Failure{Kind: KindSocket, Detail: "its queue of connections is full", Advice: s.provider() + ", which listens there, takes none: it is frozen or overloaded, see `mailstack status`"}
	case "EACCES":
		return &Failure{Kind: KindSocket, Detail: s.Consumer + " may not connect to it", Advice: "its owner or mode are wrong; `mailstack up` restarts what is not as planned"}
	}
	return failf(KindSocket, "connecting gives %s", printable(v.Connect))
}

// provider is the service that listens on the socket.
func (s SocketCheck) provider() string {
	provider, _, _ := strings.Cut(s.Socket, "/")
	return provider
}

// listener is advice about the service that listens on the socket. A socket that
// was removed comes back with a new start only.
func (s SocketCheck) listener(what string) string {
	return s.provider() + ", which listens there, " + what + ": `mailstack status` says whether it runs; a restart of its container makes the socket anew"
}

func checkDatabase(ctx context.Context, t *Target, tr *Trace) error {
	return tr.step(ctx, "query", func() error {
		err := t.Database(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if errors.Is(err, fs.ErrPermission) {
			return unseen(err, "")
		}
		return &Failure{Kind: KindBackend, Detail: printable(err.Error()), Err: err}
	})
}
