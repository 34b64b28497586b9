package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mailstack/e2e/monitors"

	"mailstack/e2e/lab"
)

// blackboxConfig has a module for each protocol, as the blackbox exporter's own
// example has them: TLS, a greeting, and good-bye.
// https://github.com/prometheus/blackbox_exporter/blob/master/example.yml
const blackboxConfig = `
modules:
  imaps:
    prober: tcp
    tcp:
      tls: true
      tls_config: { ca_file: /conf/ca.pem, server_name: HOSTNAME }
      query_response:
        - expect: "OK.*IMAP4rev1"
        - send: ". LOGOUT\r"
        - expect: "BYE"
  smtp:
    prober: tcp
    tcp:
      tls_config: { ca_file: /conf/ca.pem, server_name: HOSTNAME }
      query_response:
        - expect: "^220 "
        - send: "EHLO prober\r"
        - expect: "^250-STARTTLS"
        - send: "STARTTLS\r"
        - expect: "^220 "
        - starttls: true
        - send: "EHLO prober\r"
        - expect: "^250 "
        - send: "QUIT\r"
`

// probeSuite times a whole run of our probe beside what looks at mail servers
// elsewhere. None of the others logs in, sends or fetches mail.
func probeSuite(ctx context.Context, s *stack, e effort) (_ []series, err error) {
	conf := filepath.Join(s.Dir, "blackbox")
	ca, err := s.Run(ctx, nil, "cert", "trust", "--print")
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		os.Mkdir(conf, 0o755),
		os.WriteFile(filepath.Join(conf, "ca.pem"), []byte(ca), 0o644),
		os.WriteFile(filepath.Join(conf, "blackbox.yml"), []byte(strings.ReplaceAll(blackboxConfig, "HOSTNAME", s.Hostname)), 0o644),
	)
	if err != nil {
		return nil, err
	}
	port, err := lab.FreePort()
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	c, err := monitors.Start(ctx, monitors.Options{
		Name: s.Name + "-monitors", Mounts: []string{conf + ":/conf:ro"},
		Command: []string{"prometheus-blackbox-exporter", "--config.file=/conf/blackbox.yml", "--web.listen-address=" + address},
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	if err := s.awaitBlackbox(ctx, address); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, c.Log(ctx))
	}
	return interleave(ctx, e.rounds, []contender{
		{"check_imap, check_pop, check_smtp", "three greetings, one after the other", timed(s.plugins(c, "imap", "pop3", "smtp"))},
		{"mailstack probe", "every check: logins, refusals, delivery, certificates, sockets", timed(s.probe())},
		{"mailstack probe --skip refusal", "the same without wrong passwords, each of which costs 2 s", timed(s.probe("--skip", "refusal"))},
		{"mailstack probe --only imaps,pop3s,smtp", "two logins, and the dialogue on port 25", timed(s.probe("--only", "imaps,pop3s,smtp"))},
		{"check_simap, check_spop, check_smtp -S", "three greetings with TLS, one after the other", timed(s.plugins(c, "imaps", "pop3s", "smtp -S"))},
		{"blackbox_exporter, imaps and smtp", "two greetings with TLS, asked for over HTTP", timed(s.blackbox(address))},
	})
}

func (s *stack) probe(args ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := s.Run(ctx, nil, append([]string{"probe"}, args...)...)
		return err
	}
}

// pluginNames are Debian's plugins by the listener that each is for.
var pluginNames = map[string]string{
	"imap": "check_imap", "imaps": "check_simap", "pop3": "check_pop", "pop3s": "check_spop", "smtp": "check_smtp",
}

// plugins runs monitoring plugins one after the other, as a checker with one
// worker does. Each is named by its listener, with options behind it.
func (s *stack) plugins(c *monitors.Container, listeners ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, l := range listeners {
			fields := strings.Fields(l)
			args := append([]string{"-H", "127.0.0.1", "-p", fmt.Sprint(s.Ports[fields[0]])}, fields[1:]...)
			if _, err := lab.Output(c.Command(ctx, "/usr/lib/nagios/plugins/"+pluginNames[fields[0]], args...)); err != nil {
				return err
			}
		}
		return nil
	}
}

// blackbox asks the blackbox exporter for one module after the other, as
// Prometheus does.
func (s *stack) blackbox(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, module := range []string{"imaps", "smtp"} {
			query := url.Values{"module": {module}, "target": {fmt.Sprintf("127.0.0.1:%d", s.Ports[module])}}
			body, err := get(ctx, "http://"+address+"/probe?"+query.Encode())
			if err == nil && !strings.Contains(body, "\nprobe_success 1\n") {
				err = fmt.Errorf("the blackbox exporter says of %s:\n%s", module, body)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// awaitBlackbox waits until the exporter answers.
func (s *stack) awaitBlackbox(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		_, err := get(ctx, "http://"+address+"/-/healthy")
		if err == nil {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("wait for the blackbox exporter: %w", err)
		}
	}
}

func get(ctx context.Context, address string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", address, res.Status)
	}
	return string(body), err
}
