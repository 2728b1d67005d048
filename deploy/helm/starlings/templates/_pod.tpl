{{/* The pod of a program. Called with root, program. */}}

{{- define "starlings.pod" -}}
{{- $root := .root -}}
{{- $program := .program -}}
{{- $set := $program.set -}}
{{- $kafka := dict "root" $root "user" $program.name -}}
terminationGracePeriodSeconds: {{ add (int $set.graceSeconds) 15 }}
{{ include "starlings.podBasics" (dict "root" $root "set" $set) }}
{{- if $set.topologySpread }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "starlings.selector" (dict "root" $root "program" $program) | fromYaml | toJson }}
  {{- end }}
{{- end }}
containers:
  - name: main
    image: {{ $set.image | default (include "starlings.ownImage" (dict "root" $root "name" $program.image)) | quote }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    {{- with $set.command }}
    command: {{ toJson . }}
    {{- end }}
    {{- with $set.args }}
    args: {{ toJson . }}
    {{- end }}
    ports:
      - {name: health, containerPort: 8080, protocol: TCP}
    env:
      {{- include "starlings.programEnv" . | nindent 6 }}
      {{- include "starlings.kafkaEnv" $kafka | nindent 6 }}
      {{- include "starlings.givenEnv" $set | nindent 6 }}
    {{- with include "starlings.envFrom" (dict "root" $root "set" $set) | fromJsonArray }}
    envFrom: {{ toJson . }}
    {{- end }}
    startupProbe:
      httpGet: {path: /healthz, port: health}
      periodSeconds: 2
      timeoutSeconds: 5
      failureThreshold: 90
    livenessProbe:
      httpGet: {path: /healthz, port: health}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 3
    readinessProbe:
      httpGet: {path: /readyz, port: health}
      periodSeconds: 2
      timeoutSeconds: 5
      failureThreshold: 2
    resources: {{ toJson $set.resources }}
    securityContext: {{ toJson $set.securityContext }}
    volumeMounts:
      {{- include "starlings.mounts" $kafka | nindent 6 }}
      {{- range $set.volumeMounts }}
      - {{ toJson . }}
      {{- end }}
volumes:
  {{- include "starlings.volumes" (merge (dict "tmpSize" $set.tmpSize) $kafka) | nindent 2 }}
  {{- range $set.volumes }}
  - {{ toJson . }}
  {{- end }}
{{- end -}}

{{/* What the pods of programs, of the job and of the test have alike. */}}
{{- define "starlings.podBasics" -}}
automountServiceAccountToken: {{ .set.automountServiceAccountToken }}
enableServiceLinks: false
# A first process is not ended by a SIGTERM that it does not handle yet: told to stop while it starts, it would take
# work, and be killed at it. So it is not the first one.
shareProcessNamespace: true
securityContext: {{ toJson .set.podSecurityContext }}
{{- with .set.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .set.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .set.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .set.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with .set.affinity }}
affinity: {{ toJson . }}
{{- end }}
{{- end -}}

{{- define "starlings.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if include "starlings.kafkaVolume" . }}
- {name: kafka-tls, mountPath: /etc/starlings/kafka, readOnly: true}
{{- end }}
{{- if .root.Values.blobs.existingClaim }}
- {name: blobs, mountPath: /var/lib/starlings/blobs}
{{- end }}
{{- end -}}

{{- define "starlings.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: {{ .tmpSize }}}
{{- with include "starlings.kafkaVolume" . | fromYaml }}
- {{ toJson . }}
{{- end }}
{{- with .root.Values.blobs.existingClaim }}
- name: blobs
  persistentVolumeClaim: {claimName: {{ . }}}
{{- end }}
{{- end -}}

{{/* Settings that every program has, and those of its kind. */}}
{{- define "starlings.programEnv" -}}
{{- $root := .root -}}
{{- $program := .program -}}
{{- $set := $program.set -}}
{{- include "starlings.serviceEnv" $root }}
- {name: STARLINGS_LOG_LEVEL, value: {{ $set.logLevel | quote }}}
- {name: STARLINGS_HEALTH_HOST, value: "0.0.0.0"}
- {name: STARLINGS_HEALTH_PORT, value: "8080"}
- {name: STARLINGS_GRACE_S, value: {{ include "starlings.text" $set.graceSeconds | quote }}}
- name: STARLINGS_INSTANCE
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- include "starlings.otlpEnv" $root }}
{{- if eq $program.component "planner" }}
- {name: STARLINGS_REGISTRY_WAIT_S, value: {{ include "starlings.text" $set.registryWaitSeconds | quote }}}
{{- with $set.routing }}
- {name: STARLINGS_ROUTING, value: {{ toJson . | quote }}}
{{- end }}
{{- end }}
{{- if not (kindIs "invalid" $set.concurrency) }}
- {name: STARLINGS_CONCURRENCY, value: {{ include "starlings.text" $set.concurrency | quote }}}
{{- end }}
{{- if $program.agent }}
- {name: STARLINGS_CLAIM_LEASE_S, value: {{ include "starlings.text" $set.claimLeaseSeconds | quote }}}
{{- with $program.variant }}
- {name: STARLINGS_VARIANT, value: {{ . | quote }}}
{{- end }}
{{- if and $set.ownTopics (eq $root.Values.topics.provision "job") (not $program.variant) }}
- {name: STARLINGS_ENSURE_TOPICS, value: "true"}
{{- end }}
{{- if and $program.scaled (eq (int $set.autoscaling.minReplicas) 0) (not $program.variant) }}
- {name: STARLINGS_SCALES_FROM_ZERO, value: "true"}
{{- end }}
{{- end }}
{{- if $set.model }}
{{- with $root.Values.openai.existingSecret }}
- name: OPENAI_API_KEY
  valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ $root.Values.openai.apiKeyKey }}}}
{{- end }}
{{- with $root.Values.openai.baseUrl }}
- {name: OPENAI_BASE_URL, value: {{ . | quote }}}
{{- end }}
{{- with $root.Values.openai.model }}
- {name: STARLINGS_MODEL, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* Settings of the installation, also for the job and the test. */}}
{{- define "starlings.serviceEnv" -}}
- {name: HOME, value: /tmp}
- {name: STARLINGS_TOPIC_PREFIX, value: {{ .Values.topics.prefix | quote }}}
- {name: STARLINGS_PARTITIONS, value: {{ include "starlings.text" .Values.topics.partitions | quote }}}
- {name: STARLINGS_LOG_FORMAT, value: json}
{{- with .Values.blobs.url }}
- {name: STARLINGS_BLOBS_URL, value: {{ . | quote }}}
{{- end }}
{{- end -}}

{{- define "starlings.givenEnv" -}}
{{- range $name, $value := .env }}
- {name: {{ $name }}, value: {{ include "starlings.text" $value | quote }}}
{{- end }}
{{- range $name, $from := .secretEnv }}
- name: {{ $name }}
  valueFrom: {secretKeyRef: {name: {{ $from.secret }}, key: {{ $from.key }}}}
{{- end }}
{{- end -}}

{{- define "starlings.envFrom" -}}
{{- $from := list -}}
{{- with .root.Values.blobs.existingSecret -}}
{{- $from = append $from (dict "secretRef" (dict "name" .)) -}}
{{- end -}}
{{- concat $from .set.envFrom | toJson -}}
{{- end -}}
