package stack

// The actions of a plan. Each is data; apply.go says how it is done.
type (
	// WriteID keeps the id of a stack that is about to be initialised.
	WriteID struct{}
	// CompleteID says on disk that the stack is initialised.
	CompleteID struct{}
	// JoinService says on disk that a service which can be left out has its
	// volumes.
	JoinService struct{ Service string }
	// WriteSecret keeps a new secret.
	WriteSecret struct{ Name string }
	// FetchBase pulls the base image, or makes it from Debian packages.
	FetchBase struct{}
	// BuildImage builds a service's image.
	BuildImage struct{ Image ImageWanted }
	// WriteFiles writes what was rendered for a service.
	WriteFiles struct{ Service string }
	// InitVolume makes a volume, or only marks one whose initialisation was
	// interrupted before that.
	InitVolume struct {
		Volume   VolumeWanted
		MarkOnly bool
	}
	// CreateNetwork makes a service's bridge.
	CreateNetwork struct{ Spec NetworkSpec }
	// RemoveNetwork removes a bridge that nothing uses.
	RemoveNetwork struct{ Name string }
	// RunTask does another package's work.
	RunTask struct{ Task Task }
	// CreateContainer creates and starts.
	CreateContainer struct{ Spec ContainerSpec }
	// ReplaceContainer stops and removes the old one, creates and starts.
	ReplaceContainer struct{ Spec ContainerSpec }
	// StartContainer starts an existing container.
	StartContainer struct{ Name string }
	// RestartContainer stops and starts.
	RestartContainer struct{ Name string }
	// ReloadContainer lets the daemon read its files again.
	ReloadContainer struct{ Name string }
	// RemoveContainer stops and removes.
	RemoveContainer struct{ Name string }
	// WaitReady waits until the container's health check passes.
	WaitReady struct{ Name string }
)

func (WriteID) Verb() string          { return "begin" }
func (CompleteID) Verb() string       { return "complete" }
func (JoinService) Verb() string      { return "complete" }
func (WriteSecret) Verb() string      { return "make" }
func (FetchBase) Verb() string        { return "fetch" }
func (BuildImage) Verb() string       { return "build" }
func (WriteFiles) Verb() string       { return "write" }
func (InitVolume) Verb() string       { return "init" }
func (CreateNetwork) Verb() string    { return "create" }
func (RemoveNetwork) Verb() string    { return "remove" }
func (RunTask) Verb() string          { return "update" }
func (CreateContainer) Verb() string  { return "create" }
func (ReplaceContainer) Verb() string { return "replace" }
func (StartContainer) Verb() string   { return "start" }
func (RestartContainer) Verb() string { return "restart" }
func (ReloadContainer) Verb() string  { return "reload" }
func (RemoveContainer) Verb() string  { return "remove" }
func (WaitReady) Verb() string        { return "wait" }
