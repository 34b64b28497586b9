package stack

import "testing"

func TestValidates(t *testing.T) {
	e := newFakeEngine()
	e.containers["demo-postfix"] = &fakeContainer{Container: Container{Name: "demo-postfix", State: "running"}}
	for _, c := range []struct {
		code int
		out  string
		want bool
		bad  bool
	}{
		{0, "validates\n", true, false},
		{0, "does not validate\n", false, false},
		{1, "", false, true},
		{0, "perhaps\n", false, true},
	} {
		e.exec = func(string, []string) *ExecResult { return &ExecResult{ExitCode: c.code, Stdout: []byte(c.out)} }
		if got, err := Validates(t.Context(), e, "demo-postfix"); got != c.want || (err != nil) != c.bad {
			t.Errorf("%+v: %v, %v", c, got, err)
		}
	}
}
