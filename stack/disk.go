package stack

import "golang.org/x/sys/unix"

// DiskFree is the room on the file system of a volume.
type DiskFree struct {
	Volume     string  `json:"volume"`
	Path       string  `json:"path"`
	FreeBytes  int64   `json:"free_bytes"`
	TotalBytes int64   `json:"total_bytes"`
	FreeShare  float64 `json:"free_share"` // 0 to 1
}

// Disks looks at the file systems of the data volumes, each once.
func Disks(l Layout, g *Graph) []DiskFree {
	disks := []DiskFree{}
	seen := map[unix.Fsid]bool{}
	for _, v := range Volumes(g) {
		if v.Target == "" {
			continue // a socket directory takes no room
		}
		var st unix.Statfs_t
		if unix.Statfs(l.Volume(v.Name), &st) != nil || seen[st.Fsid] || st.Blocks == 0 {
			continue
		}
		seen[st.Fsid] = true
		disks = append(disks, DiskFree{
			Volume: v.Name, Path: l.Volume(v.Name),
			FreeBytes: int64(st.Bavail) * st.Bsize, TotalBytes: int64(st.Blocks) * st.Bsize,
			FreeShare: float64(st.Bavail) / float64(st.Blocks),
		})
	}
	return disks
}
