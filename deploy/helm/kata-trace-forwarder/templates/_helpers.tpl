{{/* The labels that Kustomize adds to everything, and Helm's own. */}}
{{- define "kata-trace-forwarder.labels" -}}
app.kubernetes.io/name: kata-trace-forwarder
app.kubernetes.io/part-of: kata-trace-forwarder
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* The image: its name and tag are those in the Kustomization unless values say otherwise. */}}
{{- define "kata-trace-forwarder.image" -}}
{{- $image := index (.Files.Get "base/kustomization.yaml" | fromYaml).images 0 }}
{{- $name := .Values.image.repository | default $image.newName }}
{{- $digest := .Values.image.digest | default $image.digest }}
{{- if $digest }}{{ $name }}@{{ $digest }}{{ else }}{{ $name }}:{{ .Values.image.tag | default $image.newTag }}{{ end }}
{{- end }}

{{/* The options that the Kustomization sets, and over them those of the values; as YAML. */}}
{{- define "kata-trace-forwarder.environment" -}}
{{- $environment := dict }}
{{- range $generator := (.Files.Get "base/kustomization.yaml" | fromYaml).configMapGenerator }}
{{- range $literal := $generator.literals }}
{{- $parts := splitn "=" 2 $literal }}
{{- $_ := set $environment $parts._0 $parts._1 }}
{{- end }}
{{- end }}
{{- if .Values.endpoint }}{{ $_ := set $environment "OTEL_EXPORTER_OTLP_ENDPOINT" .Values.endpoint }}{{ end }}
{{- range $name, $value := .Values.environment }}{{ $_ := set $environment $name (toString $value) }}{{ end }}
{{- toYaml $environment }}
{{- end }}

{{/*
Applies the JSON patches of one of Kustomize's components to an object, so that both have one source: "add" to a map or
to the end of a list, "replace" and "remove" of a map's member.
*/}}
{{- define "kata-trace-forwarder.component" -}}
{{- $object := .object }}
{{- range $patch := (.root.Files.Get .file | fromYaml).patches }}
{{- range $operation := fromYamlArray $patch.patch }}
{{- $path := splitList "/" (trimPrefix "/" $operation.path) }}
{{- $isAppended := eq (last $path) "-" }}
{{- if $isAppended }}{{ $path = initial $path }}{{ end }}
{{- $parent := $object }}
{{- range $step := initial $path }}
{{- $isList := kindIs "slice" $parent }}
{{- if $isList }}{{ $parent = index $parent (int $step) }}{{ else }}{{ $parent = get $parent $step }}{{ end }}
{{- end }}
{{- $name := last $path }}
{{- if $isAppended }}
{{- $_ := set $parent $name (append (get $parent $name) $operation.value) }}
{{- else if eq $operation.op "remove" }}
{{- $_ := unset $parent $name }}
{{- else }}
{{- $_ := set $parent $name $operation.value }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What of the DaemonSet depends on values. Changes the object that it is given. */}}
{{- define "kata-trace-forwarder.daemonSet" -}}
{{- $values := .root.Values }}
{{- if $values.viewer.enabled }}
{{- include "kata-trace-forwarder.component" (dict "root" .root "object" .object "file" "viewer.yaml") }}
{{- end }}
{{- if $values.hostNetwork }}
{{- include "kata-trace-forwarder.component" (dict "root" .root "object" .object "file" "host-network.yaml") }}
{{- end }}
{{- $pod := .object.spec.template.spec }}
{{- $image := include "kata-trace-forwarder.image" .root }}
{{- range $container := concat ($pod.initContainers | default list) $pod.containers }}
{{- $_ := set $container "image" $image }}
{{- $_ := set $container "imagePullPolicy" $values.image.pullPolicy }}
{{- range $source := $container.envFrom }}
{{- if $source.secretRef }}{{ $_ := set $source.secretRef "name" $values.secretName }}{{ end }}
{{- end }}
{{- if and (eq $container.name "forwarder") $values.resources }}
{{- $_ := set $container "resources" $values.resources }}
{{- end }}
{{- if not $values.vsock }}
{{- $mounts := list }}
{{- range $mount := $container.volumeMounts }}
{{- if ne $mount.name "vsock" }}{{ $mounts = append $mounts $mount }}{{ end }}
{{- end }}
{{- $_ := set $container "volumeMounts" $mounts }}
{{- end }}
{{- end }}
{{- $volumes := list }}
{{- range $volume := $pod.volumes }}
{{- if and $volume.hostPath (hasPrefix "/var/lib/kubelet/" ($volume.hostPath.path | default "")) }}
{{- $below := trimPrefix "/var/lib/kubelet/" $volume.hostPath.path }}
{{- $_ := set $volume.hostPath "path" (printf "%s/%s" $values.kubeletDirectory $below) }}
{{- end }}
{{- if or $values.vsock (ne $volume.name "vsock") }}{{ $volumes = append $volumes $volume }}{{ end }}
{{- end }}
{{- $_ := set $pod "volumes" $volumes }}
{{- if $values.imagePullSecrets }}{{ $_ := set $pod "imagePullSecrets" $values.imagePullSecrets }}{{ end }}
{{- if $values.nodeSelector }}{{ $_ := set $pod "nodeSelector" $values.nodeSelector }}{{ end }}
{{- if $values.tolerations }}{{ $_ := set $pod "tolerations" $values.tolerations }}{{ end }}
{{- if $values.priorityClassName }}{{ $_ := set $pod "priorityClassName" $values.priorityClassName }}{{ end }}
{{- $annotations := deepCopy $values.podAnnotations }}
{{- $_ := set $annotations "checksum/environment" (include "kata-trace-forwarder.environment" .root | sha256sum) }}
{{- $_ := set $annotations "checksum/seccomp" (.root.Files.Get "base/seccomp.json" | sha256sum) }}
{{- $metadata := .object.spec.template.metadata }}
{{- $_ := set $metadata "annotations" (mustMerge $annotations ($metadata.annotations | default dict)) }}
{{- end }}
