{{/*
How programs reach Kafka: `KAFKA_…`, the mounted certificates, and the same told to KEDA.

With `topics.strimzi.users` each program is a Kafka user of its own: the Secret that Strimzi makes has its
name. Else all share `kafka.sasl.existingSecret` and `kafka.tls.existingSecret`.
*/}}

{{- define "starlings.usesSasl" -}}
{{- if hasPrefix "SASL" .Values.kafka.securityProtocol }}true{{ end -}}
{{- end -}}

{{- define "starlings.usesTls" -}}
{{- if hasSuffix "SSL" .Values.kafka.securityProtocol }}true{{ end -}}
{{- end -}}

{{- define "starlings.ownUsers" -}}
{{- if and (eq .Values.topics.provision "strimzi") .Values.topics.strimzi.users }}true{{ end -}}
{{- end -}}

{{/* A client certificate: its Secret, and the keys in it; `user` is the program's Kafka user. */}}
{{- define "starlings.clientCert" -}}
{{- $tls := .root.Values.kafka.tls -}}
{{- if and (include "starlings.ownUsers" .root) (eq .root.Values.kafka.securityProtocol "SSL") -}}
{{- dict "secret" .user "cert" "user.crt" "key" "user.key" | toJson -}}
{{- else if $tls.certKey -}}
{{- dict "secret" $tls.existingSecret "cert" $tls.certKey "key" $tls.keyKey | toJson -}}
{{- else -}}
{}
{{- end -}}
{{- end -}}

{{- define "starlings.kafkaEnv" -}}
{{- $root := .root -}}
{{- $kafka := $root.Values.kafka -}}
- {name: KAFKA_BOOTSTRAP, value: {{ $kafka.bootstrapServers | quote }}}
- {name: KAFKA_SECURITY_PROTOCOL, value: {{ $kafka.securityProtocol | quote }}}
- {name: KAFKA_COMPRESSION, value: {{ $kafka.compression | quote }}}
{{- if include "starlings.usesSasl" $root }}
- {name: KAFKA_SASL_MECHANISM, value: {{ $kafka.sasl.mechanism | quote }}}
{{- if include "starlings.ownUsers" $root }}
- {name: KAFKA_SASL_USERNAME, value: {{ .user | quote }}}
- name: KAFKA_SASL_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .user }}, key: password}}
{{- else }}
{{- $names := ternary (list "KAFKA_SASL_CLIENT_ID" "KAFKA_SASL_CLIENT_SECRET") (list "KAFKA_SASL_USERNAME" "KAFKA_SASL_PASSWORD") (eq $kafka.sasl.mechanism "OAUTHBEARER") }}
- name: {{ first $names }}
  valueFrom: {secretKeyRef: {name: {{ $kafka.sasl.existingSecret }}, key: {{ $kafka.sasl.usernameKey }}}}
- name: {{ last $names }}
  valueFrom: {secretKeyRef: {name: {{ $kafka.sasl.existingSecret }}, key: {{ $kafka.sasl.passwordKey }}}}
{{- end }}
{{- if eq $kafka.sasl.mechanism "OAUTHBEARER" }}
- {name: KAFKA_SASL_TOKEN_URL, value: {{ $kafka.sasl.tokenUrl | quote }}}
{{- with $kafka.sasl.scope }}
- {name: KAFKA_SASL_SCOPE, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- if include "starlings.usesTls" $root }}
{{- if $kafka.tls.existingSecret }}
- {name: KAFKA_SSL_CAFILE, value: /etc/starlings/kafka/ca.crt}
{{- end }}
{{- if (include "starlings.clientCert" . | fromJson).secret }}
- {name: KAFKA_SSL_CERTFILE, value: /etc/starlings/kafka/client.crt}
- {name: KAFKA_SSL_KEYFILE, value: /etc/starlings/kafka/client.key}
{{- end }}
{{- with $kafka.tls.keyPasswordKey }}
- name: KAFKA_SSL_KEY_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $kafka.tls.existingSecret }}, key: {{ . }}}}
{{- end }}
{{- if not $kafka.tls.checkHostname }}
- {name: KAFKA_SSL_CHECK_HOSTNAME, value: "false"}
{{- end }}
{{- end }}
{{- end -}}

{{/* The volume with certificates; empty where there are none. */}}
{{- define "starlings.kafkaVolume" -}}
{{- if include "starlings.usesTls" .root }}
{{- $tls := .root.Values.kafka.tls }}
{{- $client := include "starlings.clientCert" . | fromJson }}
{{- if or $tls.existingSecret $client.secret }}
name: kafka-tls
projected:
  defaultMode: 0440
  sources:
    {{- if $tls.existingSecret }}
    - secret:
        name: {{ $tls.existingSecret }}
        items: [{key: {{ $tls.caKey }}, path: ca.crt}]
    {{- end }}
    {{- if $client.secret }}
    - secret:
        name: {{ $client.secret }}
        items:
          - {key: {{ $client.cert }}, path: client.crt}
          - {key: {{ $client.key }}, path: client.key}
    {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What KEDA's TriggerAuthentication reads: parameters out of Secrets, and out of the pods' environment. */}}
{{- define "starlings.triggerSpec" -}}
{{- $root := .root -}}
{{- $kafka := $root.Values.kafka -}}
{{- $secrets := list -}}
{{- $env := list -}}
{{- if include "starlings.usesSasl" $root -}}
{{- if include "starlings.ownUsers" $root -}}
{{- $env = append $env (dict "parameter" "username" "name" "KAFKA_SASL_USERNAME" "containerName" "main") -}}
{{- $secrets = append $secrets (dict "parameter" "password" "name" .user "key" "password") -}}
{{- else -}}
{{- $secrets = append $secrets (dict "parameter" "username" "name" $kafka.sasl.existingSecret "key" $kafka.sasl.usernameKey) -}}
{{- $secrets = append $secrets (dict "parameter" "password" "name" $kafka.sasl.existingSecret "key" $kafka.sasl.passwordKey) -}}
{{- end -}}
{{- if eq $kafka.sasl.mechanism "OAUTHBEARER" -}}
{{- $env = append $env (dict "parameter" "oauthTokenEndpointUri" "name" "KAFKA_SASL_TOKEN_URL" "containerName" "main") -}}
{{- if $kafka.sasl.scope -}}
{{- $env = append $env (dict "parameter" "scopes" "name" "KAFKA_SASL_SCOPE" "containerName" "main") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if include "starlings.usesTls" $root -}}
{{- with $kafka.tls.existingSecret -}}
{{- $secrets = append $secrets (dict "parameter" "ca" "name" . "key" $kafka.tls.caKey) -}}
{{- end -}}
{{- $client := include "starlings.clientCert" . | fromJson -}}
{{- if $client.secret -}}
{{- $secrets = append $secrets (dict "parameter" "cert" "name" $client.secret "key" $client.cert) -}}
{{- $secrets = append $secrets (dict "parameter" "key" "name" $client.secret "key" $client.key) -}}
{{- end -}}
{{- with $kafka.tls.keyPasswordKey -}}
{{- $secrets = append $secrets (dict "parameter" "keyPassword" "name" $kafka.tls.existingSecret "key" .) -}}
{{- end -}}
{{- end -}}
{{- $spec := dict -}}
{{- with $secrets }}{{ $_ := set $spec "secretTargetRef" . }}{{ end -}}
{{- with $env }}{{ $_ := set $spec "env" . }}{{ end -}}
{{- $spec | toJson -}}
{{- end -}}

{{/* The security of a KEDA trigger that is no secret. */}}
{{- define "starlings.triggerSecurity" -}}
{{- $words := dict "PLAIN" "plaintext" "SCRAM-SHA-256" "scram_sha256" "SCRAM-SHA-512" "scram_sha512" "OAUTHBEARER" "oauthbearer" -}}
sasl: {{ ternary (get $words .Values.kafka.sasl.mechanism) "none" (eq (include "starlings.usesSasl" .) "true") | quote }}
tls: {{ ternary "enable" "disable" (eq (include "starlings.usesTls" .) "true") | quote }}
{{- if not .Values.kafka.tls.checkHostname }}
unsafeSsl: "true"
{{- end }}
{{- end -}}
