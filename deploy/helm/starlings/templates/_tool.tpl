{{/* A pod that runs one command of `starlings`. It needs nothing that this chart makes: it runs as a hook. */}}

{{- define "starlings.toolPod" -}}
{{- $values := .root.Values -}}
restartPolicy: Never
{{ include "starlings.podBasics" (dict "root" .root "set" (merge (dict "affinity" dict "automountServiceAccountToken" false) $values.defaults)) }}
containers:
  - name: main
    image: {{ $values.topics.job.image | default $values.planner.image | default $values.defaults.image | default (include "starlings.ownImage" (dict "root" .root "name" "planner")) | quote }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    command: [starlings]
    args: {{ toJson .args }}
    env:
      {{- include "starlings.serviceEnv" .root | nindent 6 }}
      {{- include "starlings.kafkaEnv" . | nindent 6 }}
    {{- with include "starlings.envFrom" (dict "root" .root "set" (dict "envFrom" list)) | fromJsonArray }}
    envFrom: {{ toJson . }}
    {{- end }}
    resources: {{ toJson $values.topics.job.resources }}
    securityContext: {{ toJson $values.defaults.securityContext }}
    volumeMounts:
      {{- include "starlings.mounts" . | nindent 6 }}
volumes:
  {{- include "starlings.volumes" (merge (dict "tmpSize" "64Mi") .) | nindent 2 }}
{{- end -}}
