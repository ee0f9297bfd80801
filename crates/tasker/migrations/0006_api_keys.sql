-- Who may do what over HTTP, and who did.
create table tasker.api_keys (
  api_key_id uuid primary key,
  name text not null,
  role text not null,
  namespaces text[],
  key_hash bytea not null unique,
  created_at timestamptz not null,
  expires_at timestamptz,
  revoked_at timestamptz,
  constraint role_is_known check (role in ('viewer', 'submitter', 'worker', 'operator', 'admin')),
  constraint name_is_short check (length(name) between 1 and 100),
  constraint namespaces_are_some check (cardinality(namespaces) > 0)
);
comment on table tasker.api_keys is 'Keys of those who come over HTTP. A key itself is known to its bearer only.';
comment on column tasker.api_keys.api_key_id is 'Its id.';
comment on column tasker.api_keys.name is 'Whose it is: what stands as the actor in histories and in the audit.';
comment on column tasker.api_keys.role is 'What its bearer may do: viewer, submitter, worker, operator or admin.';
comment on column tasker.api_keys.namespaces is 'In which namespaces; null: in all.';
comment on column tasker.api_keys.key_hash is 'SHA-256 of the key.';
comment on column tasker.api_keys.created_at is 'When it was made.';
comment on column tasker.api_keys.expires_at is 'It is good for nothing from then on; null: it does not expire.';
comment on column tasker.api_keys.revoked_at is 'Since when it has been good for nothing; null: it has not been revoked.';

create table tasker.audit_records (
  audit_record_id bigint generated always as identity primary key,
  at timestamptz not null,
  actor text not null,
  api_key_id uuid,
  action text not null,
  object text not null,
  reason text
);
create index on tasker.audit_records (object, audit_record_id);
comment on table tasker.audit_records is 'What was asked over HTTP that changes something: written before it is done, whether it then succeeds or is refused. Append only.';
comment on column tasker.audit_records.audit_record_id is 'Its place among them.';
comment on column tasker.audit_records.at is 'When.';
comment on column tasker.audit_records.actor is 'Who: the key''s name; anonymous where the server asks for none.';
comment on column tasker.audit_records.api_key_id is 'With which key.';
comment on column tasker.audit_records.action is 'What: the operation''s name in the OpenAPI document.';
comment on column tasker.audit_records.object is 'To which object: a task''s or step''s id, a workflow, a filter.';
comment on column tasker.audit_records.reason is 'Why, where a person said so.';
