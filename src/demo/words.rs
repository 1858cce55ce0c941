//! The vocabulary of generated conversations. No word contains a character that JSON must escape.

use std::sync::LazyLock;

/// The words and punctuation of a language.
pub(crate) struct Language {
    /// Words, sorted from frequent to rare.
    pub(crate) words: Vec<&'static str>,
    /// Text between two words.
    pub(crate) space: &'static str,
    /// Text at the end of a statement and at the end of a question.
    pub(crate) stops: [&'static str; 2],
}

/// All languages, sorted from frequent to rare. English is the most frequent.
pub(crate) static LANGUAGES: LazyLock<[Language; 8]> = LazyLock::new(|| {
    let language = |words: &'static str, space, stops| {
        let words = words.split(' ').collect();
        Language { words, space, stops }
    };
    [
        language(ENGLISH, " ", [".", "?"]),
        language(GERMAN, " ", [".", "?"]),
        language(FRENCH, " ", [".", " ?"]),
        language(SPANISH, " ", [".", "?"]),
        language(JAPANESE, "", ["。", "か。"]),
        language(RUSSIAN, " ", [".", "?"]),
        language(CHINESE, "", ["。", "吗?"]),
        language(ARABIC, " ", [".", "؟"]),
    ]
});

const ENGLISH: &str = "\
    the to a I you is and my your of it for in on that this can order with have not we be but \
    was are if please will account when from as at do me what would how or refund been there \
    email after which they just an has so time get our all about new payment card then any no \
    out need now up help only by delivery also could one still address day days why were more \
    change number before did received because works page should other date customer them price \
    invoice same like item made first again password last thanks package want check make where \
    use plan does see subscription status into than support two sent month know phone message \
    over link back app policy return some week charged here send try cancel bank answer next \
    version every report without question product team error find tell total free shipping \
    warehouse credit detail yesterday today update since who name pay log reset settings amount \
    correct store wrong open another until while between within login confirm possible already \
    country tax different screen device service request three tomorrow file document working \
    size color reply explain code access missing damaged tracking courier billing currency \
    discount euros dollars minutes hours browser button click download upload export import \
    table column value sum average median chart query database language translate sentence \
    paragraph summary summarize short long formal polite tone reader article source reference \
    according section agreement contract clause deadline meeting calendar schedule invite flight \
    hotel booking reservation passenger seat luggage insurance claim medical doctor appointment \
    prescription patient laboratory symptom temperature pressure battery charger cable adapter \
    firmware router network signal wireless bluetooth printer cartridge recipe ingredient oven \
    vegetarian allergy restaurant menu garden repair warranty mechanic engine bicycle tyre brake \
    mileage lease landlord tenant deposit mortgage interest salary pension employer colleague \
    manager interview vacancy university semester tuition scholarship library theorem integral \
    probability variance hypothesis function variable compiler exception thread recursion \
    algorithm encryption certificate signature timestamp timezone midnight quarter fiscal ledger \
    reconcile threshold escalate supervisor complaint apologize inconvenience gratitude loyalty \
    voucher expired renewal downgrade upgrade enterprise workspace administrator permission \
    audit compliance retention anonymous residency jurisdiction notwithstanding";

const GERMAN: &str = "\
    die ich und der das nicht ist Sie zu eine mit meine auf für bitte habe von wie den wird noch \
    kann bei Bestellung auch wurde über mein nach möchte Rechnung können wann Konto Lieferung \
    aber zurück Adresse ändern schon Rückerstattung Passwort Tage gestern Straße warum Paket \
    Kündigung Gebühr Zahlung außerdem überprüfen Größe Gewährleistung Vertragslaufzeit \
    Versandbestätigung Kundendienst ungültig gemäß Datenschutzerklärung Überweisung \
    Entschuldigung";

const FRENCH: &str = "\
    je de la le est pas ma vous et les que pour un une mon en avec commande ne votre sur dans \
    bonjour merci compte été plus livraison reçu comment carte adresse toujours après \
    remboursement depuis paiement où facture déjà colis problème numéro modifier même abonnement \
    résilier délai garantie malgré réclamation indisponible vérifier prélèvement façon bientôt \
    hôtel réservation";

const SPANISH: &str = "\
    de la el mi que no y en un para con por una pedido cuenta se es como pero gracias más está \
    cuando correo quiero pago puedo tarjeta dirección todavía envío número días factura cambiar \
    recibí reembolso también ayuda contraseña mañana devolución suscripción después año \
    información garantía reclamación código teléfono vencimiento cancelación señal niño \
    descuento pingüino";

const JAPANESE: &str = "\
    の を に は が と で も から まで 注文 お願いします です ます 商品 配送 確認 返金 アカウント 住所 変更 支払い 請求書 まだ 届いて いません 昨日 今日 メール \
    番号 カード 方法 教えて ください パスワード 再設定 解約 手続き 期限 保証 修理 問い合わせ 担当者 領収書 予約 日程 申し訳 ございません ありがとう";

const RUSSIAN: &str = "\
    не я в и на мой заказ как с что это вы за по можно у меня пожалуйста когда деньги счёт \
    доставка уже ещё карта адрес письмо возврат пароль номер вчера изменить почему оплата \
    посылка получил подписка отменить поддержка гарантия ошибка договор приложение подтверждение \
    спасибо объясните обслуживание";

const CHINESE: &str = "\
    的 我 了 是 在 订单 你们 有 不 请 没有 和 收到 可以 怎么 账户 退款 已经 支付 地址 什么时候 发货 问题 修改 还是 邮件 密码 昨天 快递 发票 号码 谢谢 客服 \
    取消 订阅 银行卡 保修 确认 需要 帮助 系统 显示 错误 合同 预约 优惠券";

const ARABIC: &str = "\
    في من على لم الطلب أريد هل إلى حسابي أن هذا مع كيف يمكن شكرا الدفع رقم بعد العنوان استرداد \
    المبلغ متى البريد التوصيل تغيير كلمة المرور البطاقة فاتورة أمس مشكلة إلغاء الاشتراك الضمان \
    المساعدة الشحنة تأكيد الموعد";

/// System prompts, already escaped for JSON.
pub(crate) const INSTRUCTIONS: &[&str] = &[
    "You are a helpful support assistant. Answer in the language of the customer.",
    "Answer from the context alone. If the context does not say, say that you do not know.",
    "You are a billing specialist. Be brief, be polite, and never promise a refund.",
    "Summarize the conversation for a colleague in at most three sentences.",
    "Classify the request and give a reason.\\n\\nCategories: billing, delivery, account, other.",
    "Reply as JSON with the keys \\\"answer\\\" and \\\"citations\\\".",
];

/// Personas of the users.
pub(crate) const PERSONAS: &[&str] = &[
    "frustrated_customer",
    "first-time buyer",
    "small business owner",
    "power user",
    "Étudiante à Zürich",
    "retired engineer who writes long messages",
    "非母語話者",
    "accountant at the end of the quarter",
    "impatient traveller ✈️",
    "adversarial tester",
];

/// Tags of a row.
pub(crate) const TAGS: &[&str] = &[
    "billing",
    "delivery",
    "account",
    "multi-turn",
    "edge-case",
    "non-english",
    "tool-use",
    "retrieval",
    "refusal",
    "long-context",
    "straße",
];

/// Tools that an assistant can call, as JSON.
pub(crate) const TOOLS: &[&str] = &[
    r#"{"type":"function","function":{"name":"lookup_order","parameters":{"type":"object","properties":{"order_id":{"type":"string"}},"required":["order_id"]}}}"#,
    r#"{"type":"function","function":{"name":"issue_refund","parameters":{"type":"object","properties":{"order_id":{"type":"string"},"amount":{"type":"number","minimum":0}}}}}"#,
    r#"{"type":"function","function":{"name":"search_articles","parameters":{"type":"object","properties":{"query":{"type":"string"},"limit":{"type":"integer","default":5}}}}}"#,
];
