{{/* Labels of every pod of a build, which the network policy selects. */}}
{{- define "npd.labels" -}}
app.kubernetes.io/part-of: npd
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "npd.image" -}}
{{ required "set image.repository" .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The argument CONFIG of the job. */}}
{{- define "npd.config" -}}
{{- if and .Values.config .Values.shippedConfig }}{{ fail "set config or shippedConfig, not both" }}{{ end }}
{{- if .Values.config -}}
/config/build.toml
{{- else -}}
{{ required "give a configuration with --set-file config=my.toml, or the name of a shipped one with --set shippedConfig=demo" .Values.shippedConfig }}
{{- end }}
{{- end }}

{{- define "npd.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch # else every file of a volume is touched at each start
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "npd.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Fields of a Ray container that do not depend on its role. */}}
{{- define "npd.container" -}}
image: {{ include "npd.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: {{- include "npd.containerSecurity" . | nindent 2 }}
{{- with .Values.storeSecret }}
envFrom:
  - secretRef: {name: {{ . }}}
{{- end }}
volumeMounts:
  # The only places that are written to: Ray's session, logs and sockets, scratch files of a
  # compaction, and the cache in the home folder.
  - {name: tmp, mountPath: /tmp}
  - {name: home, mountPath: /home/npd}
  - {name: shm, mountPath: /dev/shm}
  {{- if .Values.config }}
  - {name: config, mountPath: /config, readOnly: true}
  {{- end }}
  {{- if .Values.inputsClaim }}
  - {name: inputs, mountPath: /inputs, readOnly: true}
  {{- end }}
{{- end }}

{{/* Volumes of a pod; the argument is a dictionary of the chart's context and the scratch size. */}}
{{- define "npd.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: {{ .scratch }}}
- name: home
  emptyDir: {sizeLimit: {{ .scratch }}}
- name: shm # Kubernetes gives 64 MB, less than Ray's object store
  emptyDir: {medium: Memory, sizeLimit: 256Mi}
{{- if .root.Values.config }}
- name: config
  configMap: {name: {{ .root.Release.Name }}}
{{- end }}
{{- if .root.Values.inputsClaim }}
# Models and prompts. Their digests are part of the plan, and a worker that finds other files
# refuses to compute.
- name: inputs
  persistentVolumeClaim: {claimName: {{ .root.Values.inputsClaim }}, readOnly: true}
{{- end }}
{{- end }}
