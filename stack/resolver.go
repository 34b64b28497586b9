package stack

import (
	"context"
	"fmt"
	"strings"
)

// Validates asks whether the resolver that Postfix uses validates answers
// (DNSSEC), without which there is no DANE for outgoing mail.
func Validates(ctx context.Context, e Engine, container string) (bool, error) {
	res, err := e.Exec(ctx, container, ExecSpec{Command: []string{ResolverCmd}})
	if err != nil {
		return false, err
	}
	answer := strings.TrimSpace(string(res.Stdout))
	if res.ExitCode != 0 || answer != "validates" && answer != "does not validate" {
		return false, fmt.Errorf("%s in %s: status %d: %s", ResolverCmd, container, res.ExitCode, said(res))
	}
	return answer == "validates", nil
}
