package oldhost

import "context"

// T is what a host needs of the test that it is for, or of a benchmark that is
// none: testing.TB has it all.
type T interface {
	Helper()
	Context() context.Context
	Cleanup(f func())
	Failed() bool
	Logf(format string, args ...any)
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}
