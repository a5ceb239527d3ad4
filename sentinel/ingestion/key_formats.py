"""Formats of API keys and tokens that can be told from any other text by themselves, as RE2 expressions.

Each comes from its issuer's documentation or from keys the issuer shows there. Lengths are lower bounds where issuers have changed
them before. The expressions have no groups and do not begin with a repetition, so that one automaton holds them all.
"""

from typing import Final

MODEL_PROVIDERS: Final = (
    r"sk-(?:proj-|svcacct-|admin-|None-|ant-|or-v1-|lf-)?[A-Za-z0-9_\-]{20,}",  # OpenAI, Anthropic, OpenRouter, DeepSeek, Langfuse
    r"gsk_[A-Za-z0-9]{40,}",  # Groq
    r"pplx-[A-Za-z0-9]{40,}",  # Perplexity
    r"xai-[A-Za-z0-9]{60,}",
    r"hf_[A-Za-z0-9]{30,}",  # Hugging Face
    r"api_org_[A-Za-z]{30,}",
    r"r8_[A-Za-z0-9]{30,}",  # Replicate
    r"nvapi-[A-Za-z0-9_\-]{50,}",
    r"fw_[A-Za-z0-9]{22,}",  # Fireworks
    r"csk-[a-z0-9]{40,}",  # Cerebras
    r"pcsk_[A-Za-z0-9_]{50,}",  # Pinecone
    r"tvly-[A-Za-z0-9\-]{20,}",  # Tavily
    r"jina_[A-Za-z0-9_\-]{40,}",
    r"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}",  # LangSmith
    r"sk_[0-9a-f]{48}",  # ElevenLabs
    r"e2b_[0-9a-f]{40}",
    r"fc-[0-9a-f]{32}",  # Firecrawl
    r"AIza[A-Za-z0-9_\-]{35}",  # Google
    r"ABSK[A-Za-z0-9+/]{100,}={0,2}",  # Amazon Bedrock
    r"bedrock-api-key-[A-Za-z0-9+/=]{20,}",
    r"sntl_[0-9a-f]{16}\.[0-9a-f]{32,}",  # our own
)

CLOUDS: Final = (
    r"(?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z2-7]{16}",  # AWS key ids
    r"(?:AKIA|ASIA)[A-Z0-9]{16}",
    r"ya29\.[A-Za-z0-9_\-]{20,}",  # Google OAuth
    r"GOCSPX-[A-Za-z0-9_\-]{20,}",
    r"1//0[A-Za-z0-9_\-]{40,}",
    r"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.\-]{31,34}",  # Microsoft Entra client secret
    r"do[opr]_v1_[0-9a-f]{64}",  # DigitalOcean
    r"LTAI[A-Za-z0-9]{17,21}",  # Alibaba
    r"AKID[A-Za-z0-9]{32}",  # Tencent
    r"AQVN[A-Za-z0-9_\-]{35,38}",  # Yandex
    r"HRKU-[A-Za-z0-9_\-]{36,}",  # Heroku
    r"fo1_[A-Za-z0-9_\-]{43}",  # Fly
    r"fm[12][ar]?_[A-Za-z0-9+/]{60,}={0,2}",
    r"v1\.0-[0-9a-f]{24}-[0-9a-f]{146}",  # Cloudflare origin
    r"dapi[0-9a-f]{32}",  # Databricks
    r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.=\-]{32,}",
    r"sbp_[0-9a-f]{40}",  # Supabase
    r"sb_secret_[A-Za-z0-9_\-]{20,}",
    r"sha256~[A-Za-z0-9_\-]{43}",  # OpenShift
    r"hv[sbr]\.[A-Za-z0-9_\-]{24,}",  # Vault
    r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=\-]{60,}",  # Terraform
    r"pul-[0-9a-f]{40}",
    r"dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9.]{40,}",  # Doppler
    r"ops_eyJ[A-Za-z0-9+/]{100,}={0,3}",  # 1Password
    r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}",
    r"tskey-[a-z]+-[A-Za-z0-9_\-]{10,}",  # Tailscale
)

CODE_AND_BUILD: Final = (
    r"gh[pousr]_[A-Za-z0-9]{30,}",
    r"github_pat_[A-Za-z0-9_]{22,}",
    r"gl(?:pat|dt|ptt|rt|cbt|oas|ft|imt|agent|soat|ffct)-[A-Za-z0-9_\-]{20,}",
    r"GR1348941[A-Za-z0-9_\-]{20}",
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-[A-Za-z0-9_\-]{50,}",
    r"rubygems_[0-9a-f]{48}",
    r"CLOJARS_[0-9A-Za-z]{60}",
    r"cio[A-Za-z0-9]{32}",  # crates.io
    r"dckr_(?:pat|oat)_[A-Za-z0-9_\-]{27,}",
    r"AKCp[A-Za-z0-9]{60,}",  # Artifactory
    r"cmVmdGtu[A-Za-z0-9]{56}",
    r"CCIPAT_[A-Za-z0-9_]{20,}",
    r"bkua_[0-9a-f]{40}",  # Buildkite
    r"ATATT3[A-Za-z0-9_\-=]{100,}",  # Atlassian
    r"ATCTT3[A-Za-z0-9_\-=]{60,}",
    r"ATBB[A-Za-z0-9]{32}",
    r"NRAK-[A-Z0-9]{27}",  # New Relic
    r"NRII-[A-Za-z0-9\-]{32}",
    r"NRJS-[0-9a-f]{19}",
    r"sntry[su]_[A-Za-z0-9+/=_]{40,}",
    r"glsa_[A-Za-z0-9]{32}_[0-9A-Fa-f]{8}",  # Grafana
    r"glc_[A-Za-z0-9+/]{32,}={0,3}",
    r"dt0[a-z][0-9]{2}\.[A-Z0-9]{24}\.[A-Z0-9]{64}",  # Dynatrace
    r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}",  # Postman
    r"API-[A-Z0-9]{26}",  # Octopus
    r"pnu_[A-Za-z0-9]{36}",  # Prefect
    r"sonar-?[a-z]?_?[0-9a-f]{40}",
    r"sq[pua]_[0-9a-f]{40}",  # SonarQube
)

PRODUCTS: Final = (
    r"xox[abeprs]-[A-Za-z0-9\-]{10,}",  # Slack
    r"xoxe\.xox[bp]-[A-Za-z0-9\-]{10,}",
    r"xapp-[0-9]-[A-Z0-9]+-[0-9]+-[a-z0-9]+",
    r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/+]{20,}",
    r"discord(?:app)?\.com/api/webhooks/[0-9]{10,}/[A-Za-z0-9_\-]{30,}",
    r"[MNO][A-Za-z0-9]{23,27}\.[A-Za-z0-9_\-]{6}\.[A-Za-z0-9_\-]{27,}",  # Discord bot
    r"webhook\.office\.com/webhookb2/[A-Za-z0-9@\-]{36,}/IncomingWebhook/[A-Za-z0-9/\-]{30,}",
    r"[0-9]{8,10}:AA[A-Za-z0-9_\-]{32,}",  # Telegram bot
    r"[srp]k_(?:live|test|prod)_[A-Za-z0-9]{10,}",  # Stripe
    r"whsec_[A-Za-z0-9+/]{24,}={0,2}",
    r"SG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{16,}",  # SendGrid
    r"SK[0-9a-f]{32}",  # Twilio
    r"key-[0-9a-f]{32}",  # Mailgun
    r"[0-9a-f]{32}-us[0-9]{1,2}",  # Mailchimp
    r"xkeysib-[0-9a-f]{64}-[A-Za-z0-9]{16}",
    r"shp(?:at|ca|pa|ss)_[0-9A-Fa-f]{32}",  # Shopify
    r"sq0(?:atp|csp|idp)-[A-Za-z0-9_\-]{22,}",  # Square
    r"EAAA[A-Za-z0-9_\-]{60,}",
    r"EAA[A-Za-z0-9]{80,}",  # Meta
    r"access_token\$production\$[0-9a-z]{16}\$[0-9a-f]{32}",  # Braintree
    r"access-(?:sandbox|development|production)-[0-9a-f]{8}-[0-9a-f\-]{27}",  # Plaid
    r"rzp_(?:live|test)_[A-Za-z0-9]{14}",
    r"FLWSECK(?:_TEST)?-[a-zA-Z0-9]{12,}-X",
    r"EZ[AT]K[a-zA-Z0-9]{54}",
    r"shippo_(?:live|test)_[0-9a-f]{40}",
    r"duffel_(?:test|live)_[A-Za-z0-9_=\-]{43}",
    r"lin_(?:api|oauth)_[A-Za-z0-9]{32,}",  # Linear
    r"(?:secret|ntn)_[A-Za-z0-9]{40,}",  # Notion
    r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}",  # Airtable
    r"figd_[A-Za-z0-9_\-]{36,}",
    r"tfp_[A-Za-z0-9_.=\-]{40,}",  # Typeform
    r"rdme_[a-z0-9]{70}",
    r"aio_[A-Za-z0-9]{28}",
    r"fio-u-[A-Za-z0-9_=\-]{64}",
    r"ico-[A-Za-z0-9]{32}",
    r"phc_[A-Za-z0-9]{40,}",  # PostHog
    r"phx_[A-Za-z0-9]{40,}",
    r"dG9rOj[A-Za-z0-9+/=]{40,}",  # Intercom
)

KEY_FORMATS: Final = (*MODEL_PROVIDERS, *CLOUDS, *CODE_AND_BUILD, *PRODUCTS)
