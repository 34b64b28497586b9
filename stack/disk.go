package stack

import "golang.org/x/sys/unix"

// DiskFree is the room on a file system that volumes are on.
type DiskFree struct {
	Volumes    []string `json:"volumes"`
	Path       string   `json:"path"` // of the first of them
	FreeBytes  int64    `json:"free_bytes"`
	TotalBytes int64    `json:"total_bytes"`
	FreeShare  float64  `json:"free_share"` // 0 to 1
}

// FreeBytes is the room on the file system that a path is on.
func FreeBytes(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// Disks looks at the file systems of the data volumes, each once. Socket
// directories take no room and are left out.
func Disks(l Layout, g *Graph) []DiskFree {
	disks := []DiskFree{}
	at := map[unix.Fsid]int{}
	for _, v := range Volumes(g) {
		var st unix.Statfs_t
		if v.Target == "" || unix.Statfs(l.Volume(v.Name), &st) != nil || st.Blocks == 0 {
			continue
		}
		if i, seen := at[st.Fsid]; seen {
			disks[i].Volumes = append(disks[i].Volumes, v.Name)
			continue
		}
		at[st.Fsid] = len(disks)
		disks = append(disks, DiskFree{
			Volumes: []string{v.Name}, Path: l.Volume(v.Name),
			FreeBytes: int64(st.Bavail) * st.Bsize, TotalBytes: int64(st.Blocks) * st.Bsize,
			FreeShare: float64(st.Bavail) / float64(st.Blocks),
		})
	}
	return disks
}
