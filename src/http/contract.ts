import type * as z from "zod";
import type * as wire from "../../sdk/src/wire.ts";
import type * as answers from "./answers.ts";
import type * as requests from "./requests.ts";
import type * as webhooks from "./webhook_shapes.ts";

/**
 * Holds the schemas against the wire contract when the gateway is compiled: a member more, less, or of another type on either side does not build.
 * `readonly` is left out of the comparison, since zod's arrays do not say it.
 */
type Equal<A, B> = (<T>() => T extends Plain<A> ? 1 : 2) extends <T>() => T extends Plain<B> ? 1 : 2 ? true : false;
type Plain<T> = [wire.Json] extends [T] ? "any JSON" : T extends object ? { readonly [K in keyof T]: Plain<T[K]> } : T;
type AllEqual<T extends { readonly [name: string]: true }> = T;

type Asks<K extends keyof typeof requests> = (typeof requests)[K] extends z.ZodType ? z.input<(typeof requests)[K]> : never;
type Answers<K extends keyof typeof answers> = (typeof answers)[K] extends z.ZodType ? z.input<(typeof answers)[K]> : never;

export type RequestsAreTheContract = AllEqual<{
  openSession: Equal<Asks<"openSession">, wire.OpenSessionRequest>;
  decision: Equal<Asks<"decision">, wire.DecisionRequest>;
  decisionBatch: Equal<Asks<"decisionBatch">, wire.DecisionBatchRequest>;
  commit: Equal<Asks<"commit">, wire.CommitRequest>;
  release: Equal<Asks<"release">, wire.ReleaseRequest>;
  extend: Equal<Asks<"extend">, wire.ExtendRequest>;
  topup: Equal<Asks<"topup">, wire.TopupRequest>;
  grantLease: Equal<Asks<"grantLease">, wire.GrantLeaseRequest>;
  settleLease: Equal<Asks<"settleLease">, wire.SettleLeaseRequest>;
  approvalDecide: Equal<Asks<"approvalDecide">, wire.ApprovalDecideRequest>;
  approvalBatch: Equal<Asks<"approvalBatch">, wire.ApprovalBatchRequest>;
  linkApproval: Equal<Asks<"linkApproval">, wire.LinkApprovalRequest>;
  putEntity: Equal<Asks<"putEntity">, wire.PutEntityRequest>;
  simulate: Equal<Asks<"simulate">, wire.SimulateRequest>;
  intervene: Equal<Asks<"intervene">, wire.InterveneRequest>;
  putIssuer: Equal<Asks<"putIssuer">, wire.PutIssuerRequest>;
  putSettings: Equal<Asks<"putSettings">, wire.PutSettingsRequest>;
  ingest: Equal<Asks<"ingest">, wire.IngestRequest>;
  createTenant: Equal<Asks<"createTenant">, wire.CreateTenantRequest>;
  issueToken: Equal<Asks<"issueToken">, wire.IssueTokenRequest>;
}>;

export type AnswersAreTheContract = AllEqual<{
  problem: Equal<Answers<"problem">, wire.Problem>;
  openedSession: Equal<Answers<"openedSession">, wire.OpenedSession>;
  sessionPage: Equal<Answers<"sessionPage">, wire.Page<wire.SessionSummary>>;
  sessionDetail: Equal<Answers<"sessionDetail">, wire.SessionDetail>;
  openedRun: Equal<Answers<"openedRun">, wire.OpenedRun>;
  decision: Equal<Answers<"decision">, wire.Decision>;
  decisionNow: Equal<Answers<"decisionNow">, wire.DecisionNow>;
  decisionBatch: Equal<Answers<"decisionBatch">, wire.DecisionBatch>;
  approval: Equal<Answers<"approval">, wire.Approval>;
  approvalPage: Equal<Answers<"approvalPage">, wire.ApprovalPage>;
  approvalBatch: Equal<Answers<"approvalBatch">, wire.ApprovalBatch>;
  approvalSignals: Equal<Answers<"approvalSignals">, wire.ApprovalSignals>;
  approvalLink: Equal<Answers<"approvalLink">, wire.ApprovalLink>;
  settlement: Equal<Answers<"settlement">, wire.Settlement>;
  extension: Equal<Answers<"extension">, wire.Extension>;
  grantedLease: Equal<Answers<"grantedLease">, wire.GrantedLease>;
  leaseNow: Equal<Answers<"leaseNow">, wire.LeaseNow>;
  settledLease: Equal<Answers<"settledLease">, wire.SettledLease>;
  policyPut: Equal<Answers<"policyPut">, wire.PolicyPut>;
  policyPage: Equal<Answers<"policyPage">, wire.Page<wire.PolicySummary>>;
  policyVersionPage: Equal<Answers<"policyVersionPage">, wire.Page<wire.PolicyVersion>>;
  policyDetail: Equal<Answers<"policyDetail">, wire.PolicyDetail>;
  effectivePolicy: Equal<Answers<"effectivePolicy">, wire.EffectivePolicy>;
  policyValidation: Equal<Answers<"policyValidation">, wire.PolicyValidation>;
  simulation: Equal<Answers<"simulation">, wire.Simulation>;
  entity: Equal<Answers<"entity">, wire.Entity>;
  entityPage: Equal<Answers<"entityPage">, wire.Page<wire.Entity>>;
  ledgerPage: Equal<Answers<"ledgerPage">, wire.Page<wire.LedgerEntry>>;
  ingested: Equal<Answers<"ingested">, wire.Ingested>;
  costReport: Equal<Answers<"costReport">, wire.CostReport>;
  ledgerEvent: Equal<Answers<"ledgerEvent">, wire.LedgerEvent>;
  no: Equal<Answers<"no">, wire.No>;
  noPage: Equal<Answers<"noPage">, wire.Page<wire.No>>;
  intervened: Equal<Answers<"intervened">, wire.Intervened>;
  issuer: Equal<Answers<"issuer">, wire.Issuer>;
  issuerPage: Equal<Answers<"issuerPage">, wire.Page<wire.Issuer>>;
  settings: Equal<Answers<"settings">, wire.Settings>;
  createdTenant: Equal<Answers<"createdTenant">, wire.CreatedTenant>;
  issuedToken: Equal<Answers<"issuedToken">, wire.IssuedToken>;
  tokenPage: Equal<Answers<"tokenPage">, wire.Page<wire.TokenSummary>>;
}>;

type Hooks<K extends keyof typeof webhooks> = (typeof webhooks)[K] extends z.ZodType ? z.input<(typeof webhooks)[K]> : never;

export type WebhooksAreTheContract = AllEqual<{
  createWebhook: Equal<Hooks<"createWebhook">, wire.CreateWebhookRequest>;
  rotateWebhook: Equal<Hooks<"rotateWebhook">, wire.RotateWebhookRequest>;
  resumeWebhook: Equal<Hooks<"resumeWebhook">, wire.ResumeWebhookRequest>;
  createdWebhook: Equal<Hooks<"createdWebhook">, wire.CreatedWebhook>;
  rotatedWebhook: Equal<Hooks<"rotatedWebhook">, wire.RotatedWebhook>;
  webhook: Equal<Hooks<"webhook">, wire.Webhook>;
  webhookPage: Equal<Hooks<"webhookPage">, wire.Page<wire.Webhook>>;
  delivery: Equal<Hooks<"delivery">, wire.WebhookDelivery>;
  deliveryPage: Equal<Hooks<"deliveryPage">, wire.Page<wire.WebhookDelivery>>;
}>;
