{{/* Traces by OTLP: what planner, coordinator and agents are told of it, and which port it takes. */}}

{{- define "starlings.otlpEnv" -}}
{{- $otlp := .Values.otlp -}}
{{- if $otlp.endpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ $otlp.endpoint | quote }}}
{{- with $otlp.headersSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ $otlp.headersKey }}}}
{{- end }}
{{- $said := list (printf "k8s.namespace.name=%s" .Release.Namespace) }}
{{- range $name, $value := $otlp.resourceAttributes }}
{{- $said = append $said (printf "%s=%s" $name (include "starlings.text" $value | urlquery | replace "+" "%20")) }}
{{- end }}
- {name: OTEL_RESOURCE_ATTRIBUTES, value: {{ join "," $said | quote }}}
- {name: OTEL_TRACES_SAMPLER, value: parentbased_traceidratio}
- {name: OTEL_TRACES_SAMPLER_ARG, value: {{ include "starlings.text" $otlp.sampling | quote }}}
{{- end }}
{{- end -}}

{{- define "starlings.otlpPort" -}}
{{- $address := urlParse .Values.otlp.endpoint -}}
{{- regexFind ":[0-9]+$" $address.host | trimPrefix ":" | default (ternary "443" "80" (eq $address.scheme "https")) -}}
{{- end -}}

{{- define "starlings.checkTraces" -}}
{{- $otlp := .root.Values.otlp -}}
{{- if and $otlp.headersSecret (not $otlp.endpoint) -}}
{{- include "starlings.problem" (dict "ctx" . "said" "otlp.headersSecret is set, and otlp.endpoint is empty: name the collector") -}}
{{- end -}}
{{- if contains "@" $otlp.endpoint -}}
{{- include "starlings.problem" (dict "ctx" . "said" "otlp.endpoint has a password in it, which everybody could read: put it into otlp.headersSecret") -}}
{{- end -}}
{{- end -}}
