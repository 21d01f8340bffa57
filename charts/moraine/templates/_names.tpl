{{/*
Names and labels. The names don't hold the release's: a cluster holds one Moraine, since its CSIDriver,
its custom resources and the Leases of its nodes have fixed names.
*/}}

{{- define "moraine.selectorLabels" -}}
app.kubernetes.io/name: moraine
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "moraine.labels" -}}
{{ include "moraine.selectorLabels" . }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "moraine.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Environment of every program: how it logs. */}}
{{- define "moraine.logging" -}}
- name: MORAINE_LOG_LEVEL
  value: {{ .Values.logging.level | quote }}
- name: MORAINE_LOG_FORMAT
  value: {{ .Values.logging.format | quote }}
{{- end }}

{{/* Name of the Secret that all who speak on the data plane have. */}}
{{- define "moraine.dataPlaneSecret" -}}
{{ .Values.dataPlane.secretName | default "moraine-data-plane" }}
{{- end }}

{{/* Ports and probes of every program; `data` is the port of one that serves the data plane. */}}
{{- define "moraine.ports" -}}
ports:
  {{- with .data }}
  - name: data
    containerPort: {{ . }}
  {{- end }}
  - name: metrics
    containerPort: {{ .metrics }}
  - name: health
    containerPort: {{ .health }}
livenessProbe:
  httpGet:
    path: /healthz
    port: health
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    port: health
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}
