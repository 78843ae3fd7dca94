"""The forms that issuers give their keys: one table, used by redaction and by the scan of changes. Pure.

Forms: the issuers' own documentation, as of 2026. A form is looked for only where one of its needles stands, which is a
plain substring search. The scan is faster still: it looks only around runs of key characters. So every form must hold a
run of at least ``RUN`` of them, and begin with its needle within that run, unless it is marked otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

RUN: Final = 15
"""Shortest run of ``[A-Za-z0-9_-]`` in any form: ``xoxb-`` and ten characters."""
GATE: Final = re.compile(rf"[A-Za-z0-9_.+/=-]{{{RUN}}}")
"""Stands in every text that holds a form; most short texts are let through by it at once."""

_START = r"(?<![A-Za-z0-9_])"

# id, needles, marks, form, title; columns are two blanks or more apart. Marks: `-` none; `low` is meant to be seen, but
# worth knowing; `varied` is also the form of ordinary names, so only what mixes letters and digits counts; `inside` does
# not begin with its needle; `broken` may have no run behind it, for its body holds other characters.
_TABLE: Final = r"""
github.token          ghp_,gho_,ghs_,ghu_,ghr_   -       gh[posur]_[A-Za-z0-9]{30,255}        GitHub token
github.fine_grained   github_pat_                -       github_pat_[A-Za-z0-9_]{22,255}      GitHub token
gitlab.token          glpat-,gldt-,glrt-,glrtr-,glcbt-,glptt-,glft-,glsoat-,glimt-,glagent-,gloas-,glffct-,glwt-  -  gl(?:pat|dt|rtr?|cbt|ptt|ft|soat|imt|agent|oas|ffct|wt)-[A-Za-z0-9_-]{20,300}(?:\.[A-Za-z0-9_-]{2,40}){0,2}  GitLab token
bitbucket.password    ATBB                       -       ATBB[A-Za-z0-9]{24,40}(?![A-Za-z0-9])  Bitbucket app password
atlassian.token       ATATT3,ATCTT3,ATSTT3       -       AT[ACS]TT3[A-Za-z0-9_-]{20,300}=?[A-F0-9]*     Atlassian token
linear.token          lin_api_,lin_oauth_        -       lin_(?:api|oauth)_[A-Za-z0-9]{32,}   Linear token
notion.token          ntn_,secret_               -       (?:ntn_[A-Za-z0-9]{40,}|secret_[A-Za-z0-9]{43}(?![A-Za-z0-9]))  Notion token
postman.key           PMAK-                      -       PMAK-[a-f0-9]{24}-[a-f0-9]{34}       Postman key
figma.token           figd_                      -       figd_[A-Za-z0-9_-]{30,}              Figma token
airtable.token        pat                        -       pat[A-Za-z0-9]{14}\.[a-f0-9]{64}     Airtable token
sentry.token          sntrys_eyJ                 -       sntrys_eyJ[A-Za-z0-9]{5}[A-Za-z0-9+/=_-]{35,}      Sentry token
sentry.user_token     sntryu_                    -       sntryu_[a-f0-9]{64}                  Sentry token
grafana.token         glsa_                      -       glsa_[A-Za-z0-9]{32}_[a-f0-9]{8}     Grafana token
grafana.cloud_token   glc_eyJ                    -       glc_eyJ[A-Za-z0-9]{8}[A-Za-z0-9+/]{22,}={0,2}      Grafana Cloud token
newrelic.key          NRAK-                      -       NRAK-[A-Z0-9]{27}                    New Relic key

npm.token             npm_                       -       npm_[A-Za-z0-9]{30,}                 npm token
pypi.token            pypi-                      varied  pypi-[A-Za-z0-9_-]{20,}              PyPI token
rubygems.token        rubygems_                  -       rubygems_[a-f0-9]{48}                RubyGems token
crates.token          cio                        varied  cio[A-Za-z0-9]{32}(?![A-Za-z0-9])    crates.io token
nuget.key             oy2                        -       oy2[a-z0-9]{43}(?![A-Za-z0-9])       NuGet key
docker.token          dckr_pat_,dckr_oat_        -       dckr_[po]at_[A-Za-z0-9_-]{20,}       Docker token
artifactory.key       AKCp                       -       AKCp[A-Za-z0-9]{60,}                 Artifactory key

aws.access_key        AKIA,ASIA,ABIA,ACCA        -       (?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])  AWS access key
aws.bedrock_key       ABSKQmVkcm9jay             -       ABSKQmVkcm9jay[A-Za-z0-9+/]{60,}={0,2}  AWS Bedrock key
google.api_key        AIza                       -       AIza[A-Za-z0-9_-]{35}                Google API key
google.oauth_secret   GOCSPX-                    -       GOCSPX-[A-Za-z0-9_-]{24,}            Google OAuth client secret
google.access_token   ya29.                      inside  ya29\.[A-Za-z0-9_-]{20,}             Google access token
azure.client_secret   Q~                         inside  (?<![A-Za-z0-9_~.-])[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}(?![A-Za-z0-9_~-])  Azure client secret
azure.devops_token    AZDO                       inside  [A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}    Azure DevOps token
azure.service_key     JQQJ9                      inside  [A-Za-z0-9]{52}JQQJ9[9D][A-Za-z0-9]{20,30}  Azure service key
digitalocean.token    dop_v1_,doo_v1_,dor_v1_    -       do[opr]_v1_[a-f0-9]{64}              DigitalOcean token
cloudflare.key        v1.0-                      inside  v1\.0-[a-f0-9]{24}-[a-f0-9]{100,}    Cloudflare origin key
heroku.key            HRKU-                      -       HRKU-[A-Za-z0-9_-]{36,}              Heroku key
netlify.token         nfp_                       -       nfp_[A-Za-z0-9]{36}                  Netlify token
fly.token             fm2_                       -       fm2_[A-Za-z0-9]{11}[A-Za-z0-9+/]{49,}={0,2}         Fly.io token
alibaba.key           LTAI                       varied  LTAI[A-Za-z0-9]{16,26}(?![A-Za-z0-9])  Alibaba access key
databricks.token      dapi                       -       dapi[a-f0-9]{32}(?:-[0-9])?(?![A-Za-z0-9])  Databricks token
vault.token           hvs.,hvb.,hvr.             inside  hv[sbr]\.[A-Za-z0-9_-]{24,}          Vault token
terraform.token       .atlasv1.                  inside  [A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,}  Terraform Cloud token
pulumi.token          pul-                       -       pul-[a-f0-9]{40}                     Pulumi token
doppler.token         dp.pt.,dp.st.,dp.ct.,dp.sa.  inside  dp\.(?:pt|st|ct|sa)\.[A-Za-z0-9_.-]{40,}  Doppler token
planetscale.token     pscale_                    -       pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_-]{32,}  PlanetScale credential
supabase.key          sbp_,sb_secret_            -       (?:sbp_[a-f0-9]{40}|sb_secret_[A-Za-z0-9_-]{20,})  Supabase key
tailscale.key         tskey-                     -       tskey-[a-z]+-[A-Za-z0-9]{8,}-[A-Za-z0-9]{16,}  Tailscale key
dynatrace.token       dt0                        inside  dt0[a-z][0-9]{2}\.[A-Z0-9]{24}\.[A-Z0-9]{64}  Dynatrace token
onepassword.token     ops_eyJ                    -       ops_eyJ[A-Za-z0-9]{8}[A-Za-z0-9+/=_-]{52,}         1Password service account

anthropic.key         sk-ant-                    -       (?<![A-Za-z0-9_-])sk-ant-[A-Za-z0-9_-]{20,}  Anthropic key
openai.key            sk-                        varied  (?<![A-Za-z0-9_-])sk-(?:proj-|svcacct-|admin-|or-)?[A-Za-z0-9_-]{20,}  OpenAI key
huggingface.token     hf_,api_org_               -       (?:hf|api_org)_[A-Za-z0-9]{30,}      Hugging Face token
groq.key              gsk_                       -       gsk_[A-Za-z0-9]{40,}                 Groq key
xai.key               xai-                       -       xai-[A-Za-z0-9]{60,}                 xAI key
perplexity.key        pplx-                      -       pplx-[A-Za-z0-9]{40,}                Perplexity key
replicate.token       r8_                        -       r8_[A-Za-z0-9]{37}                   Replicate token
nvidia.key            nvapi-                     -       nvapi-[A-Za-z0-9_-]{60,}             NVIDIA key
langsmith.key         lsv2_                      -       lsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}  LangSmith key

stripe.key            sk_live_,sk_test_,rk_live_,rk_test_  -  [rs]k_(?:live|test)_[A-Za-z0-9]{10,}  Stripe key
stripe.publishable    pk_live_,pk_test_          low     pk_(?:live|test)_[A-Za-z0-9]{10,}    Stripe publishable key
webhook.secret        whsec_                     broken  whsec_[A-Za-z0-9+/=]{16,}            webhook signing secret
square.token          EAAA,sq0                   -       (?:EAAA[A-Za-z0-9_-]{60}|sq0[a-z]{3}-[A-Za-z0-9_-]{22,43})(?![A-Za-z0-9_-])  Square token
shopify.token         shp                        -       shp(?:at|ca|pa|ss|ua)_[a-fA-F0-9]{32}  Shopify token

slack.token           xox                        -       xox[abceoprs]-[A-Za-z0-9-]{10,}      Slack token
slack.app_token       xapp-,xwfp-                -       (?:xapp|xwfp)-[A-Za-z0-9-]{10,}      Slack app token
slack.webhook         hooks.slack.com/           inside  (?<=hooks\.slack\.com/)(?:services|workflows|triggers)/[A-Za-z0-9/_-]{20,}  Slack webhook
discord.webhook       /api/webhooks/             inside  (?<=/api/webhooks/)[0-9]{15,}/[A-Za-z0-9_-]{30,}  Discord webhook
teams.webhook         .webhook.office.com/       inside  (?<=\.webhook\.office\.com/)webhookb2/[A-Za-z0-9@-]{36,}/IncomingWebhook/[A-Za-z0-9/_-]{32,}  Teams webhook
discord.bot_token     MT,Mj,Mz,ND,NT,Nj,Nz,OD,OT  varied  (?<![A-Za-z0-9_.-])(?:M[Tjz]|N[DTjz]|O[DT])[A-Za-z0-9_-]{22,24}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}(?![A-Za-z0-9_.-])  Discord bot token
telegram.bot_token    :AA                        inside  [0-9]{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])  Telegram bot token
twilio.key            SK                         -       SK[a-f0-9]{32}(?![A-Za-z0-9])        Twilio key
sendgrid.key          SG.                        inside  SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}  SendGrid key
mailgun.key           key-                       -       key-[a-f0-9]{32}(?![A-Za-z0-9])      Mailgun key
mailchimp.key         -us                        inside  [a-f0-9]{32}-us[0-9]{1,2}(?![A-Za-z0-9])  Mailchimp key
brevo.key             xkeysib-                   -       xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}  Brevo key

vercel.token          vcp_,vck_,vci_,vca_,vcr_   -       vc[pkiar]_[A-Za-z0-9]{24,64}         Vercel token
render.key            rnd_                       -       rnd_[A-Za-z0-9]{28,40}               Render key
neon.key              napi_                      -       napi_[a-z0-9]{60,70}                 Neon key
aiven.password        AVNS_                      -       AVNS_[A-Za-z0-9_-]{16,32}            Aiven password
mongodb.secret        mdb_sa_sk_                 -       mdb_sa_sk_[A-Za-z0-9_-]{40}          MongoDB Atlas secret
buildkite.token       bkua_                      -       bkua_[a-z0-9]{40}                    Buildkite token
circleci.token        CCIPAT_,CCIPRJ_            -       CCIP(?:AT|RJ)_[A-Za-z0-9]{20,24}_[a-f0-9]{40}  CircleCI token
sonar.token           sqp_,squ_,sqa_             -       sq[pua]_[a-f0-9]{40}                 SonarQube token
sourcegraph.token     sgp_                       -       sgp_(?:[a-f0-9]{16}|local)_[a-f0-9]{40}  Sourcegraph token
prefect.key           pnu_,pnb_                  -       pn[ub]_[A-Za-z0-9]{36}               Prefect key
infracost.key         ico-                       varied  ico-[A-Za-z0-9]{32}(?![A-Za-z0-9])   Infracost key
deno.token            ddp_,ddw_                  -       dd[pw]_[A-Za-z0-9]{36}               Deno Deploy token
clojars.token         CLOJARS_                   -       CLOJARS_[a-z0-9]{60}                 Clojars token
readme.key            rdme_                      -       rdme_[a-z0-9]{70}                    ReadMe key
contentful.token      CFPAT-                     -       CFPAT-[A-Za-z0-9_-]{43}              Contentful token
hubspot.token         pat-na1-,pat-eu1-,pat-na2-,pat-eu2-  -  pat-(?:na|eu)[12]-[a-f0-9]{8}-(?:[a-f0-9]{4}-){3}[a-f0-9]{12}  HubSpot token
launchdarkly.key      sdk-,api-                  -       (?:sdk|api)-[a-f0-9]{8}-(?:[a-f0-9]{4}-){3}[a-f0-9]{12}  LaunchDarkly key
octopus.key           API-                       varied  API-[A-Z0-9]{26}(?![A-Za-z0-9])      Octopus key
posthog.key           phx_,phs_                  -       ph[xs]_[A-Za-z0-9]{40,50}            PostHog key
trigger.key           tr_prod_,tr_dev_,tr_stg_   -       tr_(?:prod|dev|stg)_[A-Za-z0-9]{20,}  Trigger.dev key
inngest.key           signkey-                   -       signkey-[a-z]{2,12}-[a-f0-9]{64}     Inngest key
adafruit.key          aio_                       varied  aio_[A-Za-z0-9]{28}(?![A-Za-z0-9])   Adafruit key
mapbox.token          sk.eyJ                     inside  sk\.eyJ[A-Za-z0-9_-]{40,}\.[A-Za-z0-9_-]{20,}  Mapbox token
google.refresh_token  1//0                       inside  (?<![A-Za-z0-9_/])1//0[A-Za-z0-9_-]{40,}  Google refresh token
google.fcm_key        :APA91b                    inside  [A-Za-z0-9_-]{7,}:APA91b[A-Za-z0-9_-]{100,}  Firebase messaging key
tencent.key           AKID                       varied  AKID[A-Za-z0-9]{32}(?![A-Za-z0-9])   Tencent Cloud key
volcengine.key        AKLT                       varied  AKLT[A-Za-z0-9]{40,60}(?![A-Za-z0-9])  Volcengine key
yandex.key            AQVN                       -       AQVN[A-Za-z0-9_-]{35,38}             Yandex Cloud key
cloudflare.token      cfut_,cfat_,cfk_           -       cf(?:ut|at|k)_[A-Za-z0-9_-]{40,}     Cloudflare token

elevenlabs.key        sk_                        -       sk_[a-f0-9]{48}(?![A-Za-z0-9])       ElevenLabs key
together.key          tgp_v1_                    -       tgp_v1_[A-Za-z0-9_-]{43}             Together key
fireworks.key         fw_                        varied  fw_[A-Za-z0-9]{22,24}(?![A-Za-z0-9])  Fireworks key
cerebras.key          csk-                       -       csk-[a-z0-9]{48}(?![A-Za-z0-9])      Cerebras key
pinecone.key          pcsk_                      -       pcsk_[A-Za-z0-9]{5,6}_[A-Za-z0-9]{60,64}  Pinecone key
tavily.key            tvly-                      -       tvly-(?:dev-|prod-)?[A-Za-z0-9]{30,}  Tavily key
jina.key              jina_                      -       jina_[A-Za-z0-9]{60}                 Jina key
apify.token           apify_api_                 -       apify_api_[A-Za-z0-9]{36}            Apify token
e2b.key               e2b_                       -       e2b_[a-f0-9]{40}                     E2B key

resend.key            re_                        varied  re_[A-Za-z0-9]{8}_[A-Za-z0-9]{24}(?![A-Za-z0-9])  Resend key
shippo.token          shippo_live_,shippo_test_  -       shippo_(?:live|test)_[a-f0-9]{40}    Shippo token
easypost.key          EZAK,EZTK                  -       EZ[AT]K[A-Za-z0-9]{54}               EasyPost key
duffel.token          duffel_                    -       duffel_(?:live|test)_[A-Za-z0-9_-]{43}  Duffel token
plaid.token           access-                    -       access-(?:production|sandbox|development)-[a-f0-9]{8}-(?:[a-f0-9]{4}-){3}[a-f0-9]{12}  Plaid token
razorpay.key          rzp_live_,rzp_test_        -       rzp_(?:live|test)_[A-Za-z0-9]{14,}   Razorpay key
flutterwave.key       FLWSECK                    -       FLWSECK(?:_TEST)?-[a-f0-9]{32}-X     Flutterwave key
facebook.token        EAAC,EAAM,EAAB,EAAG        varied  EAA[CMBG][A-Za-z0-9]{100,}           Facebook token
feishu.webhook        /bot/v2/hook/              inside  (?<=/bot/v2/hook/)[a-f0-9]{8}-(?:[a-f0-9]{4}-){3}[a-f0-9]{12}  Feishu webhook

jwt                   eyJ                        -       eyJ[A-Za-z0-9_-]{12,}\.eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*  JSON web token
age.key               AGE-SECRET-KEY-            -       AGE-SECRET-KEY-1[A-Z0-9]{50,}        age key
"""


@dataclass(frozen=True, slots=True)
class Form:
    """How the keys of one issuer look.

    Attributes:
        id: stable name, as findings and fingerprints use it.
        title: for a person.
        needles: one of them stands in every match.
        pattern: what is the secret.
        low: it is meant to be seen.
        varied: only what mixes letters and digits counts.
        inside: a match need not begin with a needle.
        broken: its needle need not stand in a run.
    """

    id: str
    title: str
    needles: tuple[str, ...]
    pattern: re.Pattern[str]
    low: bool
    varied: bool
    inside: bool
    broken: bool


def _read(row: str) -> Form:
    id_, needles, marks, pattern, title = re.split(r"\s{2,}", row.strip())
    start = "" if pattern.startswith("(?<") else _START
    return Form(
        id=id_,
        title=title,
        needles=tuple(needles.split(",")),
        pattern=re.compile(start + pattern),
        low="low" in marks,
        varied="varied" in marks,
        inside="inside" in marks,
        broken="broken" in marks,
    )


FORMS: Final = tuple(_read(row) for row in _TABLE.splitlines() if row.strip())
"""In the order they are tried; where two fit the same text, the first names it."""

_HEADER: Final = r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
PRIVATE_KEY: Final = re.compile(
    rf"({_HEADER})(.*?)(-----END [A-Z0-9 ]{{0,40}}PRIVATE KEY(?: BLOCK)?-----|\Z)", re.DOTALL
)
"""A key with its armour: header, body, end; one that is cut off goes to the end of the text."""

URL: Final = re.compile(r"(?<=://)([^\s/:@\"'<>]{0,256}):([^\s/\"'<>]{1,512})@(?=[^\s@])")
"""User and password of a URL. A password holds no blank; greedy up to the last @ before a /, as some clients read it."""
URL_MARK: Final = r"://[^ \t\r\n/\"'<>]{2,769}@"
"""Stands in every text that holds such a URL."""

BEARER: Final = re.compile(r"(?i)(?<![A-Za-z])(bearer|basic)([ \t]+)([A-Za-z0-9+/_.~-]{16,}={0,2})")
"""Word, blanks and value of an HTTP credential."""
BEARER_MARK: Final = rf"(?i:bearer|basic)[ \t][A-Za-z0-9_-]{{{RUN}}}"
"""Stands in every HTTP credential that a search for runs comes to."""
