{{/* Names, labels and scalars. Everything that is made begins with `starlings.fullname`. */}}

{{- define "starlings.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "starlings" .Release.Name -}}
{{- .Release.Name -}}
{{- else -}}
{{- printf "%s-starlings" .Release.Name -}}
{{- end -}}
{{- end -}}

{{/* Labels that a selector has: they must never change, since selectors cannot. */}}
{{- define "starlings.selector" -}}
app.kubernetes.io/name: starlings
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .program.component }}
{{- if .program.agent }}
starlings.dev/agent: {{ .program.agent }}
starlings.dev/variant: {{ .program.variant | default "default" }}
{{- end }}
{{- end -}}

{{- define "starlings.labels" -}}
app.kubernetes.io/name: starlings
app.kubernetes.io/instance: {{ .Release.Name }}
{{ include "starlings.release" . }}
{{- end -}}

{{/* Labels that change with the release, beside a selector's. */}}
{{- define "starlings.release" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: starlings
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* A scalar as text: numbers of values are floats, and 1000000 must not become 1e+06. */}}
{{- define "starlings.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- . | int64 | toString -}}
{{- else -}}
{{- . | toString -}}
{{- end -}}
{{- end -}}

{{/* A part of a Kubernetes name out of a name on Kafka. */}}
{{- define "starlings.dns" -}}
{{- . | lower | replace "_" "-" | replace "." "-" -}}
{{- end -}}

{{- define "starlings.ownImage" -}}
{{- $root := .root -}}
{{- printf "%s/starlings-%s:%s" (trimSuffix "/" $root.Values.image.registry) .name ($root.Values.image.tag | default $root.Chart.AppVersion) -}}
{{- end -}}

{{/* The ConfigMap that says who uses a prefix on a Kafka, whatever order its servers are named in. */}}
{{- define "starlings.claim" -}}
{{- $servers := splitList "," .Values.kafka.bootstrapServers | sortAlpha | join "," -}}
{{- printf "starlings-prefix-%s" (printf "%s %s" .Values.topics.prefix $servers | sha256sum | trunc 12) -}}
{{- end -}}
