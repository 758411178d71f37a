// What stands in `compose/`, read by the parsers of those who will read it: Compose's own, and BuildKit's with its lints.
// It prints what each makes of it, and ends with 1 when something is not as it should be.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Each way in which the README has it started, and what then runs.
var ways = []struct{ files, services string }{
	{"compose.yaml", "grafana host kafka mongo prometheus registry"},
	{"compose.yaml stages.yaml", "archive grafana kafka mongo numbers prometheus registry steps"},
	{"compose.yaml yours.yaml", "grafana host kafka mongo prometheus registry"},
	{"kafka.yaml", "kafka"},
}

func main() {
	folder := os.Args[1]
	stages := checkDockerfile(filepath.Join(folder, "Dockerfile"))
	for _, way := range ways {
		checkCompose(folder, way.files, way.services, stages)
	}
	if wrong {
		os.Exit(1)
	}
}

var wrong bool

func complain(where, what string, values ...any) {
	wrong = true
	fmt.Fprintf(os.Stderr, "%s: %s\n", where, fmt.Sprintf(what, values...))
}

// An image of one version, which does not change under its name.
var pinned = regexp.MustCompile(`^[a-z0-9./-]+:[a-z-]*v?[0-9]+[.-]?[0-9]+[a-z0-9.-]*$`)

func checkDockerfile(path string) (names []string) {
	file, err := os.Open(path)
	if err != nil {
		complain(path, "%v", err)
		return
	}
	defer file.Close()
	parsed, err := parser.Parse(file)
	if err != nil {
		complain(path, "%v", err)
		return
	}
	lint := linter.New(&linter.Config{
		ExperimentalAll: true,
		Warn: func(rule, _, _, message string, location []parser.Range) {
			complain(path, "%s: %s %v", rule, message, location)
		},
	})
	for _, warning := range parsed.Warnings {
		complain(path, "%s", warning.Short)
	}
	stages, _, err := instructions.Parse(parsed.AST, lint)
	if err != nil {
		complain(path, "%v", err)
		return
	}
	users := map[string]string{}
	for _, stage := range stages {
		if !slices.Contains(names, stage.BaseName) && !pinned.MatchString(stage.BaseName) {
			complain(path, "%s is not pinned", stage.BaseName)
		}
		users[stage.Name] = users[stage.BaseName]
		for _, command := range stage.Commands {
			switch command := command.(type) {
			case *instructions.CopyCommand:
				if command.From != "" && !slices.Contains(names, command.From) {
					complain(path, "COPY --from=%s names no stage above it", command.From)
				}
			case *instructions.UserCommand:
				users[stage.Name] = command.User
			}
		}
		names = append(names, stage.Name)
	}
	// Kubernetes has to see that it is not root.
	for _, name := range []string{"host", "example"} {
		if !regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`).MatchString(users[name]) {
			complain(path, "%s runs as %q", name, users[name])
		}
	}
	fmt.Printf("Dockerfile: %s\n", strings.Join(names, ", "))
	return names
}

func checkCompose(folder, files, expected string, stages []string) {
	var paths []string
	for _, file := range strings.Fields(files) {
		paths = append(paths, filepath.Join(folder, file))
	}
	options, err := cli.NewProjectOptions(paths, cli.WithEnv([]string{"PIPELINE=" + filepath.Join(folder, "pipeline")}),
		cli.WithResolvedPaths(true))
	if err != nil {
		complain(files, "%v", err)
		return
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		complain(files, "%v", err)
		return
	}
	names := project.ServiceNames()
	slices.Sort(names)
	if got := strings.Join(names, " "); got != expected {
		complain(files, "it starts %s, not %s", got, expected)
	}
	for name, service := range project.Services {
		checkService(files+": "+name, service, stages)
	}
	fmt.Printf("%s: %s\n", files, strings.Join(names, ", "))
}

func checkService(where string, service types.ServiceConfig, stages []string) {
	for _, port := range service.Ports {
		if port.HostIP != "127.0.0.1" {
			complain(where, "port %s is open to the network", port.Published)
		}
	}
	for _, volume := range service.Volumes {
		if volume.Type == types.VolumeTypeBind {
			if _, err := os.Stat(volume.Source); err != nil || !volume.ReadOnly {
				complain(where, "%s is mounted, and is not there or not read-only", volume.Source)
			}
		}
	}
	if !slices.Contains(service.SecurityOpt, "no-new-privileges:true") {
		complain(where, "it may gain privileges")
	}
	if service.Build == nil {
		if !pinned.MatchString(service.Image) {
			complain(where, "%s is not pinned", service.Image)
		}
		return
	}
	// A host.
	if !slices.Contains(stages, service.Build.Target) {
		complain(where, "the Dockerfile has no stage %q", service.Build.Target)
	}
	for _, path := range []string{service.Build.Context, filepath.Join(service.Build.Context, service.Build.Dockerfile)} {
		if _, err := os.Stat(path); err != nil {
			complain(where, "%v", err)
		}
	}
	if grace := service.StopGracePeriod; grace == nil || time.Duration(*grace) <= 10*time.Second {
		complain(where, "it is killed before it has had its 10 s to end")
	}
	if !service.ReadOnly || !slices.Equal(service.CapDrop, []string{"ALL"}) {
		complain(where, "it may write outside of its state, or has capabilities")
	}
	isState := func(volume types.ServiceVolumeConfig) bool {
		return volume.Target == "/var/lib/millstream" && !volume.ReadOnly
	}
	if !slices.ContainsFunc(service.Volumes, isState) {
		complain(where, "its state does not outlive it")
	}
	if service.DependsOn["kafka"].Condition != types.ServiceConditionHealthy {
		complain(where, "it does not wait for Kafka")
	}
}
